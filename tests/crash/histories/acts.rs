//! What each step does to the world. A step that finds nothing to act on returns `false`.

use std::sync::Arc;

use imm_operator::api::{DeletionPolicy, FINALIZER, GrantSpec, GrantStatus, Mode};
use imm_operator::core::grant::{GrantObject, ObjectKey, OnlyStored};
use imm_operator::core::identity::Identity;
use imm_operator::core::tenancy::TenancyRules;
use k8s_openapi::jiff::SignedDuration;

use super::super::jobs::ACCOUNT;
use super::super::rival::{Edit, apply_edit, document_of};
use super::super::specs::grant;
use super::arming::fault;
use super::specs::{bucket_name, bucket_ref, tenancy};
use super::step::{Act, Forgery, Permission, Shape};
use super::world::World;

impl World {
    /// Carries out a step; returns whether it changed anything.
    pub fn act(&mut self, act: Act) -> bool {
        match act {
            Act::Apply(slot, shape) => self.apply(&self.key(slot), shape),
            Act::Edit(slot, field, number) => self.edit(slot, |world, spec| {
                world.edit_field(spec, field, number);
            }),
            Act::Suspend(slot, on) => self.edit(slot, |_, spec| spec.suspend = on),
            Act::Preview(slot, on) => self.edit(slot, |_, spec| {
                spec.mode = if on { Mode::Preview } else { Mode::Enforce };
            }),
            Act::Replace(slot) => self.change(slot, |grant| grant.finalizers.clear()),
            Act::Delete(number) => self.delete(&self.existing(number)),
            Act::Recreate(slot, shape) => {
                let key = self.existing(slot);
                let busy = self.grants.contains_key(&key);
                if busy {
                    self.awaited.insert(key.clone(), shape);
                    self.delete(&key);
                    return true;
                }
                self.apply(&key, shape)
            }
            Act::Annotate(slot, abandon) => {
                let version = self.version;
                self.change(slot, |grant| {
                    grant.reconcile_at = Some(format!("at-{version}"));
                    grant.abandon |= abandon;
                })
            }
            Act::DeleteNamespace(number) => self.delete_namespace(number),
            Act::CreateNamespace(number) => self.create_namespace(number),
            Act::Rules(number) => self.set_rules(tenancy(number)),
            Act::Rotate(slot, number, how) => {
                let identity = self.identity(&self.existing(slot).namespace, number);
                self.rotate(&identity, how)
            }
            Act::Permit(slot, number, bucket, level) => {
                let identity = self.identity(&self.existing(slot).namespace, number);
                let bucket = bucket_name(bucket % self.size.0);
                let new = self.cloud.permission(&identity, &bucket) != level;
                self.cloud.permit(identity, &bucket, level);
                new
            }
            Act::Rival(bucket, edit) => self.rival(&bucket_name(bucket % self.size.0), edit),
            Act::Forge(slot, what) => self.forge(slot, what),
            Act::CreateJob(slot, shape) => self.create_job(&self.key(slot), shape),
            Act::EditJob(slot, edit) => self.edit_job(&self.existing_job(slot), edit),
            Act::DeleteJob(slot) => self.delete_job(&self.existing_job(slot)),
            Act::ForgeJob(slot, what) => self.forge_job(&self.existing_job(slot), what),
            Act::Clock(seconds) => {
                // A rest waits until the expiries that were recorded before have passed.
                let seconds = seconds.max(-3_600);
                self.jump += SignedDuration::from_secs(seconds.into());
                self.audit.jumped = true;
                if seconds < 0 {
                    self.audit.set_back += u64::from(seconds.unsigned_abs());
                }
                true
            }
            Act::Lag(seconds) => {
                let new = self.cloud.lag() != i64::from(seconds);
                let now = self.true_time();
                self.cloud.set_lag(seconds.into(), now);
                new
            }
            Act::Restore(changes) => {
                self.restore(changes.into());
                self.audit.restored(self.version);
                true
            }
            Act::Behind(changes) => {
                self.behind = changes.into();
                true
            }
            Act::HideEvent => {
                self.watch.hide = true;
                true
            }
            Act::Crash(_)
            | Act::Freeze(_)
            | Act::LoseAnswer(_)
            | Act::Late(..)
            | Act::Twice(_)
            | Act::Api(..)
            | Act::Cloud(..) => {
                self.faults.push(fault(act));
                true
            }
        }
    }

    pub fn create(&mut self, key: &ObjectKey, shape: Shape) {
        let mut spec = grant(ACCOUNT);
        spec.bucket = bucket_ref(shape.bucket % self.size.0);
        self.shape(&mut spec, shape);
        let finalizers = Vec::from_iter(shape.finalizer.then(|| FINALIZER.to_owned()));
        let grant = GrantObject {
            uid: format!("uid-{}-{}-{}", key.namespace, key.name, self.version),
            resource_version: String::new(),
            generation: 1,
            created: Some(self.true_time()),
            deleting: false,
            finalizers,
            reconcile_at: None,
            abandon: false,
            retain: spec.deletion_policy == DeletionPolicy::Retain,
            bucket: Some(spec.bucket.clone()),
            identity: Identity::of(&key.namespace, &spec.credentials),
            spec: Ok(spec),
            status: GrantStatus::default(),
            only_stored: OnlyStored::default(),
            key: key.clone(),
        };
        self.store(grant);
    }

    fn apply(&mut self, key: &ObjectKey, shape: Shape) -> bool {
        if self
            .namespaces
            .get(&key.namespace)
            .is_none_or(|n| n.terminating || n.gone)
        {
            return false;
        }
        let Some(old) = self.grants.get(key).cloned() else {
            self.create(key, shape);
            return true;
        };
        let mut spec = old.spec.clone().unwrap();
        self.shape(&mut spec, shape);
        self.put_spec(&old, spec)
    }

    fn put_spec(&mut self, old: &GrantObject, spec: GrantSpec) -> bool {
        if old.spec.as_ref() == Ok(&spec) {
            return false;
        }
        self.store(GrantObject {
            generation: old.generation + 1,
            retain: spec.deletion_policy == DeletionPolicy::Retain,
            identity: Identity::of(&old.key.namespace, &spec.credentials),
            spec: Ok(spec),
            ..old.clone()
        });
        true
    }

    fn edit(&mut self, slot: u8, edit: impl FnOnce(&Self, &mut GrantSpec)) -> bool {
        let Some(old) = self.grants.get(&self.existing(slot)).cloned() else {
            return false;
        };
        let mut spec = old.spec.clone().unwrap();
        edit(self, &mut spec);
        self.put_spec(&old, spec)
    }

    /// Changes a grant without a new generation.
    fn change(&mut self, slot: u8, change: impl FnOnce(&mut GrantObject)) -> bool {
        let Some(old) = self.grants.get(&self.existing(slot)).cloned() else {
            return false;
        };
        let mut new = GrantObject::clone(&old);
        change(&mut new);
        if new == *old {
            return false;
        }
        self.store(new);
        true
    }

    pub fn delete(&mut self, key: &ObjectKey) -> bool {
        let Some(old) = self.grants.get(key).cloned().filter(|g| !g.deleting) else {
            return false;
        };
        self.store(GrantObject {
            deleting: true,
            generation: old.generation + 1,
            ..GrantObject::clone(&old)
        });
        true
    }

    fn set_rules(&mut self, rules: TenancyRules) -> bool {
        if *self.rules() == rules {
            return false;
        }
        self.version += 1;
        self.rules_log.push((self.version, Arc::new(rules)));
        self.show_rules();
        true
    }

    /// Another writer changes a policy.
    fn rival(&mut self, bucket: &str, edit: Edit) -> bool {
        let mut texts = self.cloud.texts(bucket);
        let of_bucket: Vec<_> = self.grants_of(bucket).cloned().collect();
        let wanted = of_bucket
            .iter()
            .find(|g| !g.deleting)
            .and_then(|g| self.audit.rendered(g).into_iter().next_back());
        if let Edit::CopyOurs = edit {
            // Whose copy is whose can no longer be told.
            let meaning = wanted.as_ref().map(|w| w.1.clone());
            self.audit
                .ambiguous
                .extend(meaning.map(|m| (bucket.to_owned(), m)));
        }
        let foreign = &self.foreign;
        let wanted = wanted.map(|(text, _)| text);
        let Some(new) = apply_edit(edit, &mut texts, |text| foreign.contains(text), wanted) else {
            return false;
        };
        self.foreign.extend(new);
        let text = document_of(&texts);
        if self.cloud.buckets.get(bucket).and_then(|b| b.policy.as_deref()) == text.as_deref() {
            return false;
        }
        let now = self.true_time();
        self.cloud.put(bucket, text.as_deref(), now);
        self.cloud.buckets.get_mut(bucket).unwrap().edits += 1;
        true
    }

    fn forge(&mut self, slot: u8, what: Forgery) -> bool {
        let Some(old) = self.grants.get(&self.existing(slot)).cloned() else {
            return false;
        };
        let mut new = GrantObject::clone(&old);
        self.forge_status(&mut new, what);
        if new == *old {
            return false;
        }
        self.audit.forged.insert(new.uid.clone());
        self.store(new);
        true
    }

    pub fn grants_of<'a>(&'a self, bucket: &'a str) -> impl Iterator<Item = &'a Arc<GrantObject>> {
        let within = move |g: &&Arc<GrantObject>| g.bucket.as_ref().is_some_and(|b| b.name == bucket);
        self.grants.values().filter(within)
    }
}

/// Whether an identity may do everything at every bucket.
pub fn is_unrestricted(world: &World, identity: &Identity, bucket: &str) -> bool {
    world.cloud.permission(identity, bucket) == Permission::All
}
