//! The content of the emulated cloud: accounts and their credentials, buckets, projects, sessions.
//! Plain data behind one lock, which is never held across an await.

pub(crate) mod accounts;
pub(crate) mod buckets;
pub(crate) mod callers;
pub(crate) mod projects;
mod storage_class;

use std::collections::{BTreeMap, HashMap};

use crate::hosts;
use crate::metadata::Instance;
use crate::seed::{BucketSeed, ProjectSeed, Seed, SeedError};
use accounts::{Account, Key, Session};
use buckets::{Bucket, Object};
use projects::Project;
pub use storage_class::StorageClass;

/// The delay after which a policy change is visible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Lag {
    /// How long reads still return the previous document.
    pub policy_read_ms: u64,
    /// How long decisions still use the previous document.
    pub policy_enforcement_ms: u64,
}

#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) accounts: BTreeMap<String, Account>,
    pub(crate) keys: HashMap<String, Key>,
    pub(crate) sessions: HashMap<String, Session>,
    pub(crate) buckets: BTreeMap<String, Bucket>,
    pub(crate) projects: BTreeMap<(String, String), Project>,
    pub(crate) lag: Lag,
    pub(crate) instance: Option<Instance>,
    pub(crate) finance_regions: bool,
    /// The region of the clients' network.
    pub(crate) network: Option<String>,
}

impl World {
    /// Adds a seed. An account that exists keeps its content and gains the new parts. Fails if the seed is
    /// inconsistent.
    pub(crate) fn add(&mut self, seed: Seed) -> Result<(), SeedError> {
        self.finance_regions |= seed.finance_regions;
        self.network = seed.network.or(self.network.take());
        for account in seed.accounts {
            if account.uid.is_empty() {
                return Err(SeedError::Contradiction("an account has no uid".to_owned()));
            }
            for key in &account.keys {
                let key = Key::new(&account.uid, key);
                self.keys.insert(key.id.clone(), key);
            }
            self.accounts
                .entry(account.uid.clone())
                .or_default()
                .extend(account);
        }
        if let Some(instance) = seed.instance {
            self.instance = Some(Instance::new(instance));
        }
        for bucket in seed.buckets {
            self.add_bucket(bucket)?;
        }
        for project in seed.projects {
            self.add_project(project)?;
        }
        Ok(())
    }

    pub(crate) fn add_bucket(&mut self, mut seed: BucketSeed) -> Result<(), SeedError> {
        let problem = if self.buckets.contains_key(&seed.name) {
            Some("is there already")
        } else if !buckets::is_name(&seed.name) {
            Some("has a name OSS does not allow")
        } else if seed.region.is_empty() {
            Some("has no region")
        } else if !self.accounts.contains_key(&seed.owner) {
            Some("has an owner that is no account of the seed")
        } else {
            None
        };
        if let Some(problem) = problem {
            return Err(SeedError::Contradiction(format!(
                "bucket {:?} {problem}",
                seed.name
            )));
        }
        for many in &mut seed.many {
            many.fill()?;
        }
        self.buckets.insert(seed.name.clone(), Bucket::new(seed));
        Ok(())
    }

    pub(crate) fn add_project(&mut self, seed: ProjectSeed) -> Result<(), SeedError> {
        if !self.accounts.contains_key(&seed.account) {
            let message = format!("project {:?} belongs to no account of the seed", seed.name);
            return Err(SeedError::Contradiction(message));
        }
        if self.finance_regions && hosts::is_finance(&seed.region) {
            let message = format!("project {:?} is in a finance region, where IMM is not", seed.name);
            return Err(SeedError::Contradiction(message));
        }
        self.projects
            .insert((seed.account.clone(), seed.name.clone()), Project::new(seed));
        Ok(())
    }

    pub(crate) fn put_object(&mut self, bucket: &str, key: &str, object: Object) -> bool {
        self.buckets.get_mut(bucket).is_some_and(|bucket| {
            bucket.objects.insert(key.to_owned(), object);
            true
        })
    }

    /// Returns whether Block Public Access is on for a bucket, set on the bucket or on its account.
    pub(crate) fn blocks_public_access(&self, bucket: &Bucket) -> bool {
        let account = self.accounts.get(&bucket.owner);
        bucket.block_public_access || account.is_some_and(|account| account.block_public_access)
    }
}
