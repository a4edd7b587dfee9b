//! Decides whether a job may make its first billed call. The grant must be live at its current generation, must not be
//! overridden by a Deny that certainly covers all of it, must cover every image, and its last write must be older
//! than the propagation delay. A premature call is a billed error.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::enforcement::{other_job_message, wait_message, waits_until};
use super::{JobObject, SourceSpec, grant_mismatch};
use crate::api::{ConditionStatus, GrantCondition, GrantSpec, JobReason, JobSpec, Mode};
use crate::core::condition_builder::condition_status;
use crate::core::grant::{GrantObject, ObjectKey};
use crate::core::policy::SECURITY_DENY;
use crate::core::time;

/// Whether a job may make calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateDecision {
    /// The job may make calls.
    Open,
    /// The grant is live, and a Deny overrides it: the message for users. The job must wait.
    Denied(String),
    /// The job must wait: the message for users, and the time of the next check if it is known.
    Wait(String, Option<Timestamp>),
    /// The job can never make calls: the reason and the message with which it fails.
    Never(JobReason, String),
}

impl GateDecision {
    /// Returns the decision while another job tries whether OSS enforces the grant: its key, and until when that lasts.
    #[must_use]
    pub fn during_trial(self, trial: Option<(&ObjectKey, Timestamp)>) -> Self {
        match trial.filter(|_| self == Self::Open) {
            Some((grant, until)) => Self::Wait(other_job_message(grant), Some(until)),
            None => self,
        }
    }
}

/// Evaluates the grant that a job references; `grant` is `None` if it does not exist. A job without a reference may
/// make calls.
pub fn evaluate_gate(
    job: &JobObject,
    spec: &JobSpec,
    source_spec: &SourceSpec,
    grant: Option<&GrantObject>,
    now: Timestamp,
) -> GateDecision {
    let Some(name) = job.grant_key(spec) else {
        return GateDecision::Open;
    };
    let allowed = |grant: &GrantSpec| {
        let listed = grant
            .allowed_consumers
            .as_ref()
            .is_some_and(|a| a.namespaces.contains(&job.key.namespace));
        name.namespace == job.key.namespace || listed
    };
    let known = grant
        .and_then(|g| g.spec.as_ref().ok().map(|s| (g, s)))
        .filter(|(_, s)| allowed(s));
    // Use one message for a missing and for a forbidden grant: it discloses nothing about another namespace.
    let Some((grant, granted)) = known else {
        let message = format!(
            "Grant {name} does not exist or does not list namespace {} in spec.allowedConsumers: create the grant, or add the namespace",
            job.key.namespace
        );
        return GateDecision::Wait(message, None);
    };
    if !is_live(grant) {
        return GateDecision::Wait(
            format!(
                "Grant {name} is not live yet: see its Ready condition (kubectl get ibg -n {} {} -o wide)",
                name.namespace, name.name
            ),
            None,
        );
    }
    if condition_status(&grant.status.conditions, GrantCondition::Effective) == Some(ConditionStatus::False) {
        let by_alibaba_cloud = grant.status.conditions.iter().any(|condition| {
            condition.is(GrantCondition::Effective) && condition.message.contains(SECURITY_DENY)
        });
        let message = if by_alibaba_cloud {
            format!(
                "Grant {name} is live, but a Deny \"{SECURITY_DENY}\" in the same policy covers all of the granted access: ask the owner of the bucket to settle with Alibaba Cloud why it was added"
            )
        } else {
            format!(
                "Grant {name} is live, but a Deny in the same policy covers all of the granted access: remove or narrow that Deny at OSS"
            )
        };
        return GateDecision::Denied(message);
    }
    if let Some((reason, message)) = grant_mismatch(spec, source_spec, granted) {
        return GateDecision::Never(reason, format!("Grant {name} {message}"));
    }
    let propagation = SignedDuration::from_secs(i64::from(spec.grant_wait.settle_seconds));
    let written = grant
        .status
        .policy
        .as_ref()
        .and_then(|p| p.last_write_time.as_ref());
    // A write that is further ahead than the delay was not recorded with this clock: waiting for it could take years. If
    // the call is too early, it is denied and repeated.
    let written = written.filter(|written| written.0 <= time::after(now, propagation));
    match written.map(|written| time::after(written.0, propagation)) {
        Some(until) if until > now => {
            let message = format!(
                "Grant {name} is live; waiting {} s for OSS to enforce it (grantWait.settleSeconds)",
                spec.grant_wait.settle_seconds
            );
            GateDecision::Wait(message, Some(until))
        }
        _ => match waits_until(job.status.enforcement_wait.as_ref(), now)
            .zip(job.status.enforcement_wait.as_ref())
        {
            Some((until, wait)) => GateDecision::Wait(wait_message(&grant.key, wait), Some(until)),
            None => GateDecision::Open,
        },
    }
}

/// Returns the bucket whose policy has a Deny that decides about the job: it makes no call, or none for some items.
pub fn denying_bucket<'a>(decision: &GateDecision, grant: Option<&'a GrantObject>) -> Option<&'a str> {
    let grant = grant?;
    let denied = match decision {
        GateDecision::Denied(_) => true,
        GateDecision::Open => !grant.status.denied_objects.is_empty(),
        GateDecision::Wait(..) | GateDecision::Never(..) => false,
    };
    let bucket = grant.bucket.as_ref().filter(|_| denied)?;
    Some(bucket.name.as_str())
}

/// Returns `true` if the status says for the current generation that all statements are in the policy.
fn is_live(grant: &GrantObject) -> bool {
    let current = grant.status.observed_generation == Some(grant.generation) && !grant.deleting;
    let granted = grant.status.conditions.iter().any(|c| {
        c.is(GrantCondition::Granted)
            && c.status == ConditionStatus::True
            && c.observed_generation == Some(grant.generation)
    });
    // A grant in preview mode can own statements of an earlier spec, but the job is compared with the current spec: the
    // plan must add nothing. Without a plan (the missing statements do not fit) the grant is not live.
    let preview = grant.spec.as_ref().is_ok_and(|s| s.mode == Mode::Preview);
    let plan = grant.status.plan.as_ref();
    let lacks = plan.map_or(preview, |p| !p.add.is_empty());
    current && granted && !lacks
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;
    use crate::api::{GrantReason, PlannedChange};
    use crate::core::condition_builder::ConditionsBuilder;
    use crate::core::grant::spec_with as grant_spec_with;
    use crate::core::job::{spec_with, validated_source};

    const NOW: Timestamp = Timestamp::constant(1_790_000_000, 0);

    fn job_spec(source: &serde_json::Value) -> JobSpec {
        spec_with(&json!({"source": source, "grantRef": {"name": "pics", "namespace": "media"}}))
    }

    fn grant_spec(access: &serde_json::Value) -> GrantSpec {
        grant_spec_with(&json!({
            "credentials": {"source": "Operator"},
            "allowedConsumers": {"namespaces": ["scoring"]},
            "access": access,
        }))
    }

    /// A live grant that was written so many seconds ago.
    fn live_grant(written: i64) -> GrantObject {
        let mut grant = GrantObject::bare("media", "pics");
        grant.spec = Ok(grant_spec(&json!({})));
        let mut conditions = ConditionsBuilder::new(&[], 1, NOW);
        conditions.set_true(GrantCondition::Granted, GrantReason::Applied, "");
        grant.status.conditions = conditions.finish();
        grant.status.observed_generation = Some(1);
        let at = NOW - SignedDuration::from_secs(written);
        let policy = json!({"bytes": 2, "limitBytes": 16384, "statements": 1, "foreignStatements": 0,
            "lastWriteTime": Time(at)});
        grant.status.policy = serde_json::from_value(policy).unwrap();
        grant
    }

    /// A plan that adds this number of statements.
    fn adding(statements: usize) -> PlannedChange {
        PlannedChange {
            add: vec![String::new(); statements],
            remove: Vec::new(),
            resulting_bytes: 0,
            resulting_sha256: None,
        }
    }

    /// The decision about a job in a namespace.
    fn decision(namespace: &str, grant: &GrantObject) -> GateDecision {
        let spec = job_spec(&json!({"uris": ["oss://pics-1/a/1.jpg"]}));
        let job = JobObject::bare(namespace, "one", Ok(spec.clone()));
        let source = validated_source(&spec).unwrap();
        evaluate_gate(&job, &spec, &source, Some(grant), NOW)
    }

    #[test]
    fn a_live_grant_opens_the_gate_for_its_consumers_once_it_has_settled() {
        for namespace in ["media", "scoring"] {
            assert_eq!(decision(namespace, &live_grant(3_600)), GateDecision::Open);
        }
        let hidden = decision("other", &live_grant(3_600));
        assert!(matches!(hidden, GateDecision::Wait(message, None) if message.contains("does not exist")));
        let early = decision("media", &live_grant(0));
        assert!(matches!(early, GateDecision::Wait(_, Some(until)) if until > NOW));
    }

    #[test]
    fn the_gate_opens_when_the_delay_is_over_and_for_a_write_that_is_further_ahead_than_the_delay() {
        let settle = i64::from(job_spec(&json!({"uris": []})).grant_wait.settle_seconds);
        for (written, open) in [
            (settle, true),
            (settle - 1, false),
            (-settle, false),
            (-settle - 1, true),
        ] {
            let found = decision("media", &live_grant(written));
            assert_eq!(found == GateDecision::Open, open, "{written} {found:?}");
        }
    }

    #[test]
    fn a_deny_that_covers_all_access_denies_the_job_and_its_message_says_who_can_change_that() {
        for (status, message, expected) in [
            (ConditionStatus::False, "A Deny", "remove or narrow that Deny"),
            (ConditionStatus::False, SECURITY_DENY, "settle with Alibaba Cloud"),
            (ConditionStatus::Unknown, "A Deny", ""),
        ] {
            let mut grant = live_grant(3_600);
            let mut effective = ConditionsBuilder::new(&[], 1, NOW);
            effective.set(
                GrantCondition::Effective,
                status,
                GrantReason::ExplicitDeny,
                message,
            );
            grant.status.conditions.extend(effective.finish());
            let found = decision("media", &grant);
            let denied = matches!(&found, GateDecision::Denied(said) if said.contains(expected));
            assert_eq!(denied, !expected.is_empty(), "{found:?}");
        }
    }

    #[test]
    fn a_deny_decides_about_a_job_whose_calls_it_fails() {
        let mut grant = live_grant(3_600);
        let bucket = json!({"name": "pics-1", "region": "cn-hangzhou", "ownerUID": "1"});
        grant.bucket = serde_json::from_value(bucket).unwrap();
        let wait = GateDecision::Wait(String::new(), None);
        let denied = GateDecision::Denied(String::new());
        assert_eq!(denying_bucket(&GateDecision::Open, Some(&grant)), None);
        assert_eq!(denying_bucket(&denied, Some(&grant)), Some("pics-1"));
        grant.status.denied_objects = vec!["pics-1/a/*".to_owned()];
        assert_eq!(denying_bucket(&GateDecision::Open, Some(&grant)), Some("pics-1"));
        assert_eq!(denying_bucket(&wait, Some(&grant)), None);
        assert_eq!(denying_bucket(&denied, None), None);
    }

    #[test]
    fn an_open_gate_waits_while_another_job_tries_the_grant() {
        let key = ObjectKey {
            namespace: "media".to_owned(),
            name: "one".to_owned(),
        };
        let until = Timestamp::UNIX_EPOCH;
        let waits = GateDecision::Wait(other_job_message(&key), Some(until));
        assert_eq!(GateDecision::Open.during_trial(Some((&key, until))), waits);
        assert_eq!(GateDecision::Open.during_trial(None), GateDecision::Open);
        let denied = GateDecision::Denied("a Deny".to_owned());
        assert_eq!(denied.clone().during_trial(Some((&key, until))), denied);
    }

    #[test]
    fn a_grant_whose_statements_were_not_seen_for_its_generation_is_not_live() {
        let changes: [fn(&mut GrantObject); 9] = [
            |grant| grant.generation += 1,
            |grant| grant.status.observed_generation = Some(0),
            |grant| grant.status.conditions[0].observed_generation = Some(0),
            // The plan is missing, or adds a statement.
            |grant| grant.spec.as_mut().unwrap().mode = Mode::Preview,
            |grant| grant.status.plan = Some(adding(1)),
            |grant| {
                grant.spec.as_mut().unwrap().mode = Mode::Preview;
                grant.status.plan = Some(adding(1));
            },
            |grant| grant.deleting = true,
            |grant| grant.status.conditions[0].status = ConditionStatus::False,
            |grant| grant.status.conditions[0].kind = GrantCondition::Ready.as_str().to_owned(),
        ];
        for (index, change) in changes.iter().enumerate() {
            let mut grant = live_grant(3_600);
            change(&mut grant);
            assert_ne!(decision("media", &grant), GateDecision::Open, "{index}");
        }
        let mut preview = live_grant(3_600);
        preview.spec.as_mut().unwrap().mode = Mode::Preview;
        preview.status.plan = Some(adding(0));
        assert_eq!(decision("media", &preview), GateDecision::Open);
    }
}
