//! A first call that is denied although the grant is live: OSS may not enforce the policy yet, because no delay is
//! documented. The call is then repeated a few times, by one job for each grant and
//! namespace; the others wait for its outcome. Jobs of another namespace do not: it could delay them on purpose.

use std::collections::BTreeMap;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::EnforcementWait;
use crate::core::grant::{GrantObject, ObjectKey};
use crate::core::time;
use crate::core::time::whole_seconds;

/// A policy write counts as new for this long.
const NEW_FOR: SignedDuration = SignedDuration::from_mins(10);
/// Delays before each repeat of the first call of a job.
const DELAYS: [SignedDuration; 3] = [
    SignedDuration::from_secs(30),
    SignedDuration::from_secs(60),
    SignedDuration::from_secs(120),
];
/// A write within this time of a drift restores a statement that OSS has enforced before.
const RESTORING: SignedDuration = SignedDuration::from_mins(1);
/// Time for the repeated call itself: the deadline of IMM and the start of a run.
const CALL: SignedDuration = SignedDuration::from_secs(75);

/// Returns how long to wait before the first call of a job is repeated; `None` if a denied call cannot be explained by
/// the age of the grant, or was repeated often enough.
pub fn next_repeat(
    grant: &GrantObject,
    before: Option<&EnforcementWait>,
    now: Timestamp,
) -> Option<EnforcementWait> {
    let written = grant.status.policy.as_ref()?.last_write_time.as_ref()?.0;
    let restored = grant
        .status
        .last_drift
        .as_ref()
        .is_some_and(|drift| drift.time.0 <= written && written <= time::after(drift.time.0, RESTORING));
    // A write ahead of the clock counts as new, because its age is unknown: the clock may have been set back since.
    let is_new = now < time::after(written, NEW_FOR);
    let repeats = before.map_or(0, |wait| wait.repeats);
    let delay = *DELAYS.get(usize::try_from(repeats).ok()?)?;
    (is_new && !restored).then(|| EnforcementWait {
        repeats: repeats.saturating_add(1),
        until: whole_seconds(time::after(now, delay)),
    })
}

/// Returns the end of the wait that the status of a job records, if it is not over. A time that no wait can have reached
/// was not written by the operator.
pub(super) fn waits_until(wait: Option<&EnforcementWait>, now: Timestamp) -> Option<Timestamp> {
    let longest = DELAYS.last().copied().unwrap_or_default();
    let until = wait?.until.0;
    (until > now && until <= time::after(now, longest)).then_some(until)
}

fn cause(grant: &ObjectKey) -> String {
    format!(
        "IMM denied the first call, and OSS may not enforce grant {grant} yet, because its policy was last written less than 10 minutes ago: trying again"
    )
}

/// Returns the note of the event. It has no time and no number, because all waits of a job are one event with a count.
pub fn wait_note(grant: &ObjectKey) -> String {
    format!("{}, at most {} times", cause(grant), DELAYS.len())
}

/// Returns the message of a job that waits to repeat its first call.
pub fn wait_message(grant: &ObjectKey, wait: &EnforcementWait) -> String {
    format!(
        "{} at {} ({} of {})",
        cause(grant),
        wait.until.0,
        wait.repeats,
        DELAYS.len()
    )
}

/// Returns the message of a job that waits for another job's outcome.
pub fn other_job_message(grant: &ObjectKey) -> String {
    format!("Another job is trying whether OSS enforces grant {grant} yet: waiting for its outcome")
}

/// The jobs that repeat their first call: one for each grant, generation and namespace of jobs.
#[derive(Debug, Default)]
pub struct EnforcementTrials {
    trials: BTreeMap<(ObjectKey, i64, String), Trial>,
}

/// A job by its namespace and uid.
#[derive(Clone, Copy, Debug)]
pub struct JobId<'a> {
    /// Namespace.
    pub namespace: &'a str,
    /// Unique id of the object.
    pub uid: &'a str,
}

impl JobId<'_> {
    fn key(&self, grant: &GrantObject) -> (ObjectKey, i64, String) {
        (grant.key.clone(), grant.generation, self.namespace.to_owned())
    }
}

#[derive(Debug)]
struct Trial {
    job: String,
    /// When the repeated call has an answer at the latest.
    ends: Timestamp,
    /// Whether every repeat was denied.
    failed: bool,
}

impl EnforcementTrials {
    /// Begins or continues the trial of a job. Returns `false` if another job's trial is under way or has
    /// failed.
    pub fn begin(&mut self, grant: &GrantObject, job: &JobId<'_>, until: Timestamp, now: Timestamp) -> bool {
        self.trials
            .retain(|_, trial| now < time::after(trial.ends, NEW_FOR));
        let key = job.key(grant);
        let other = self.trials.get(&key);
        if other.is_some_and(|trial| trial.job != job.uid && (trial.failed || now < trial.ends)) {
            return false;
        }
        let trial = Trial {
            job: job.uid.to_owned(),
            ends: time::after(until, CALL),
            failed: false,
        };
        self.trials.insert(key, trial);
        true
    }

    /// Returns until when a job has to wait for the outcome of another job's trial.
    pub fn waits(&self, grant: &GrantObject, job: &JobId<'_>, now: Timestamp) -> Option<Timestamp> {
        let trial = self.trials.get(&job.key(grant))?;
        (trial.job != job.uid && !trial.failed && now < trial.ends).then_some(trial.ends)
    }

    /// Ends the trials of a job, by its uid: OSS enforces the grant, or every repeat was denied.
    pub fn end(&mut self, job: &str, enforced: bool) {
        if enforced {
            self.trials.retain(|_, trial| trial.job != job);
        }
        for trial in self.trials.values_mut().filter(|trial| trial.job == job) {
            trial.failed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn grant(status: &serde_json::Value) -> GrantObject {
        GrantObject {
            generation: 3,
            status: serde_json::from_value(status.clone()).unwrap(),
            ..GrantObject::bare("photos", "grant")
        }
    }

    #[test]
    fn the_first_call_is_repeated_three_times_for_a_new_grant_and_never_for_a_restored_one() {
        let policy = json!({"bytes": 1, "limitBytes": 1, "statements": 1, "foreignStatements": 0,
            "lastWriteTime": "1970-01-01T00:01:40Z"});
        let new = grant(&json!({"policy": policy}));
        let mut wait: Option<EnforcementWait> = None;
        for (repeats, until) in [(1, 150), (2, 180), (3, 240)] {
            wait = next_repeat(&new, wait.as_ref(), at(120));
            let found = wait.as_ref().unwrap();
            assert_eq!((found.repeats, found.until.0), (repeats, at(until)));
        }
        assert_eq!(next_repeat(&new, wait.as_ref(), at(120)), None);
        assert!(
            next_repeat(&new, None, at(-3_600)).is_some(),
            "the clock was set back by an hour"
        );
        assert!(next_repeat(&new, None, at(699)).is_some());
        assert_eq!(next_repeat(&new, None, at(700)), None, "the grant is old");
        assert_eq!(next_repeat(&grant(&json!({})), None, at(120)), None);
        for (drift, repeated) in [
            ("00:01:41", true),
            ("00:01:40", false),
            ("00:00:40", false),
            ("00:00:39", true),
        ] {
            let drift =
                json!({"time": format!("1970-01-01T{drift}Z"), "kind": "StatementRemoved", "count": 1});
            let restored = grant(&json!({"policy": policy, "lastDrift": drift}));
            let found = next_repeat(&restored, None, at(120)).is_some();
            assert_eq!(found, repeated, "{drift}");
        }
    }

    #[test]
    fn a_recorded_wait_is_believed_only_as_far_as_it_can_reach() {
        let wait = |until| EnforcementWait {
            repeats: 1,
            until: Time(at(until)),
        };
        assert_eq!(waits_until(Some(&wait(150)), at(100)), Some(at(150)));
        assert_eq!(waits_until(Some(&wait(100)), at(100)), None);
        assert_eq!(waits_until(Some(&wait(220)), at(100)), Some(at(220)));
        assert_eq!(waits_until(Some(&wait(221)), at(100)), None);
        assert_eq!(waits_until(None, at(100)), None);
    }

    #[test]
    fn the_messages_of_a_wait_name_the_grant_and_what_is_waited_for() {
        let grant = grant(&json!({})).key;
        let wait = EnforcementWait {
            repeats: 2,
            until: Time(at(160)),
        };
        let denied = "IMM denied the first call, and OSS may not enforce grant photos/grant yet";
        for (message, start, end) in [
            (wait_note(&grant), denied, "trying again, at most 3 times"),
            (
                wait_message(&grant, &wait),
                denied,
                "trying again at 1970-01-01T00:02:40Z (2 of 3)",
            ),
            (
                other_job_message(&grant),
                "Another job is trying whether OSS enforces grant photos/grant yet",
                "waiting for its outcome",
            ),
        ] {
            assert!(message.starts_with(start) && message.ends_with(end), "{message}");
        }
    }

    #[test]
    fn one_job_tries_for_each_grant_generation_and_namespace() {
        let mut trials = EnforcementTrials::default();
        let job = |uid| JobId {
            namespace: "team",
            uid,
        };
        let other_team = JobId {
            namespace: "other",
            uid: "b",
        };
        let first = grant(&json!({}));
        let edited = GrantObject {
            generation: 4,
            ..first.clone()
        };
        assert!(trials.begin(&first, &job("a"), at(130), at(100)));
        assert!(
            trials.begin(&first, &job("a"), at(160), at(130)),
            "its second repeat"
        );
        assert!(!trials.begin(&first, &job("b"), at(160), at(131)));
        assert_eq!(trials.waits(&first, &job("b"), at(131)), Some(at(235)));
        assert_eq!(trials.waits(&first, &job("a"), at(131)), None);
        assert_eq!(trials.waits(&first, &other_team, at(131)), None);
        assert_eq!(trials.waits(&edited, &job("b"), at(131)), None);
        trials.end("another", true);
        assert_eq!(trials.waits(&first, &job("b"), at(131)), Some(at(235)));
        trials.end("a", true);
        assert_eq!(trials.waits(&first, &job("b"), at(131)), None);

        assert!(trials.begin(&first, &job("a"), at(160), at(130)));
        trials.end("a", false);
        assert_eq!(trials.waits(&first, &job("b"), at(131)), None);
        assert!(
            !trials.begin(&first, &job("b"), at(160), at(131)),
            "the outcome is known"
        );
        assert!(trials.begin(&first, &job("c"), at(2_000), at(1_900)), "forgotten");

        assert_eq!(
            trials.waits(&first, &job("b"), at(2_075)),
            None,
            "the job is gone"
        );
        assert!(trials.begin(&first, &job("b"), at(2_100), at(2_075)));
    }
}
