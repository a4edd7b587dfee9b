//! The jobs of a history. Each has a [`JobWorld`] of its own, which checks its calls, reports and statuses.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use imm_operator::api::{Budget, GrantRef, JobStatus, OnExceeded};
use imm_operator::core::grant::ObjectKey;
use imm_operator::core::job::JobObject;
use imm_operator::ports::CloudError;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::{from_value, json};

use super::super::fault::{Call, Effect, Fault, Refusal};
use super::super::jobs::{ACCOUNT, JobWorld};
use super::super::process::{no_answer, pass_time};
use super::gate::Gate;
use super::specs::{bucket_name, credentials};
use super::step::{JobEdit, JobForgery, JobShape};
use super::world::World;

/// Latency of IMM.
const CALL: Duration = Duration::from_millis(150);

impl World {
    pub fn create_job(&mut self, key: &ObjectKey, shape: JobShape) -> bool {
        let namespace = self.namespaces.get(&key.namespace).copied().unwrap_or_default();
        if self.jobs.contains_key(key) || namespace.terminating || namespace.gone {
            return false;
        }
        self.version += 1;
        let uid = format!("job-{}", self.version);
        let bucket = bucket_name(shape.bucket % self.size.0);
        let images = (0..shape.images.max(1)).map(|n| format!("p/{uid}/{n}.jpg"));
        let images: Vec<String> = images.collect();
        let uris: Vec<String> = images.iter().map(|key| format!("oss://{bucket}/{key}")).collect();
        let source = if shape.prefix {
            json!({"prefix": {"bucket": bucket, "prefix": format!("p/{uid}/")}})
        } else {
            json!({"uris": uris})
        };
        let spec = json!({
            "project": {"name": "immtest", "region": "cn-hangzhou", "accountUID": ACCOUNT},
            "credentials": credentials((shape.identity % self.size.2).min(1)),
            "source": source,
            "budget": {"maxRequests": if shape.poor { 2 } else { 100 }, "onExceeded": "Fail"},
            "backoffLimitPerItem": 4,
            "maxFailedItems": "100%",
        });
        let mut spec: imm_operator::api::JobSpec = from_value(spec).unwrap();
        spec.grant_ref = (shape.grant > 0).then(|| {
            let grant = self.key(shape.grant - 1);
            GrantRef {
                name: grant.name,
                namespace: Some(grant.namespace),
            }
        });
        let mut world = JobWorld::default();
        world.images = images;
        world.place(JobObject {
            key: key.clone(),
            uid,
            resource_version: String::new(),
            generation: 1,
            deleting: false,
            started: None,
            reconcile_at: None,
            spec: Ok(spec),
            status: JobStatus::default(),
        });
        self.jobs.insert(key.clone(), world);
        self.show_job(key);
        true
    }

    pub fn edit_job(&mut self, key: &ObjectKey, edit: JobEdit) -> bool {
        let Some(world) = self.jobs.get_mut(key) else {
            return false;
        };
        let mut job = world.job.clone().unwrap();
        let before = job.spec.clone();
        let spec = job.spec.as_mut().unwrap();
        match edit {
            JobEdit::Suspend => spec.suspend = true,
            JobEdit::Resume => spec.suspend = false,
            JobEdit::Cancel => spec.cancel = true,
            JobEdit::Parallelism(n) => spec.parallelism = Some(n.into()),
            // Only raised: a call that is sent before the process knows a lower budget is no fault.
            JobEdit::Budget(n) => {
                let now = spec.budget.as_ref().map_or(0, |b| b.max_requests);
                spec.budget = Some(Budget {
                    max_requests: now + i64::from(n),
                    on_exceeded: OnExceeded::Suspend,
                });
            }
            JobEdit::Deadline(n) => spec.active_deadline_seconds = Some(i64::from(n) * 20),
        }
        if job.spec == before {
            return false;
        }
        job.generation += 1;
        world.place(job);
        self.show_job(key);
        true
    }

    pub fn delete_job(&mut self, key: &ObjectKey) -> bool {
        let Some(gone) = self.jobs.remove(key) else {
            return false;
        };
        self.audit.broken.extend(gone.broken);
        self.show_job(key);
        true
    }

    pub fn forge_job(&mut self, key: &ObjectKey, what: JobForgery) -> bool {
        let Some(world) = self.jobs.get_mut(key) else {
            return false;
        };
        let mut job = world.job.clone().unwrap();
        match what {
            JobForgery::Cleared => job.status = JobStatus::default(),
            JobForgery::ForeignMark => job.started = Some("uid-of-another".to_owned()),
            JobForgery::FarFuture => {
                let far = Some(Time(Timestamp::from_second(253_000_000_000).unwrap()));
                job.status.start_time.clone_from(&far);
                job.status.active_since.clone_from(&far);
                if job.is_finished() {
                    job.status.completion_time.clone_from(&far);
                }
                let spec = job.spec.as_mut().unwrap();
                spec.active_deadline_seconds = Some(31_536_000);
                spec.results.ttl_seconds_after_finished = Some(31_536_000);
                for condition in &mut job.status.conditions {
                    condition.last_transition_time = far.clone().unwrap();
                }
                job.generation += 1;
            }
        }
        if world.job.as_ref() == Some(&job) {
            return false;
        }
        // What was billed is forgotten, so that it may be billed again.
        world.late = true;
        world.forged = true;
        world.place(job);
        self.show_job(key);
        true
    }

    /// Returns the job that an image belongs to.
    fn job_of(&mut self, uri: &str) -> Option<&mut JobWorld> {
        let (_, key) = uri.split_once("/p/")?;
        let uid = key.split('/').next()?;
        let mut jobs = self.jobs.values_mut();
        jobs.find(|job| job.job.as_ref().is_some_and(|j| j.uid == uid))
    }

    /// Collects what the jobs' own checks have found.
    pub fn collect_broken_jobs(&mut self) {
        for (key, job) in &mut self.jobs {
            let broken = std::mem::take(&mut job.broken);
            let broken = broken.into_iter().map(|what| format!("{key}: {what}"));
            self.audit.broken.extend(broken);
        }
    }
}

impl Gate {
    /// A billed call. A call that was sent arrives and is billed, even if its process ends.
    pub fn score<'a>(&'a self, uri: &'a str) -> BoxFuture<'a, Result<String, CloudError>> {
        async move {
            let fault = self.admit(Call::Score).await;
            if let Some(Fault::Frozen(seconds)) = fault {
                self.freeze(seconds).await;
            }
            let error = fault.and_then(Fault::error);
            let sent = {
                let mut world = self.world.lock().unwrap();
                let now = world.true_time();
                world.job_of(uri).map(|job| {
                    let call = job.leave(uri, self.number, now);
                    (call, (error != Some(Effect::None)).then(|| job.serve(call)))
                })
            };
            pass_time(CALL).await;
            if let Some((call, _)) = sent {
                let mut world = self.world.lock().unwrap();
                let now = world.true_time();
                if let Some(job) = world.job_of(uri) {
                    job.answered(call, now, error.is_some());
                }
            }
            if fault.is_some_and(Fault::stops) {
                self.doom();
            }
            let failed = || Err(fault.and_then(CloudError::of).unwrap_or_else(no_answer));
            let answer = sent.and_then(|(_, answer)| answer);
            answer.filter(|_| error.is_none()).unwrap_or_else(failed)
        }
        .boxed()
    }
}
