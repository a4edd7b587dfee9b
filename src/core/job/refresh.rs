//! Checking a running job again: when, and what its run learns from it. Times are counted from the start of the run.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{GateDecision, JobObject, PERSIST_EVERY, SourceSpec, evaluate_gate, source_bucket};
use crate::api::JobSpec;
use crate::core::grant::GrantObject;
use crate::core::tenancy::{TenancyRules, Tenant};

/// Interval at which the object and its grant are read again; a change of either triggers that at once.
const REFRESH_EVERY: Duration = Duration::from_secs(10);

/// When a run reads its object and its grant again: at first at once, because counting the source and obtaining
/// credentials may have taken minutes since the gate opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct RefreshSchedule {
    due: Duration,
}

impl RefreshSchedule {
    /// Whether both have to be read again.
    pub fn is_due(&self, elapsed: Duration) -> bool {
        self.due <= elapsed
    }

    /// Records that one of them may have changed.
    pub fn set_due(&mut self) {
        self.due = Duration::ZERO;
    }

    /// Records that they were read, or that one of them could not be read: the next attempt then follows after a second.
    pub fn tried(&mut self, all_read: bool, elapsed: Duration) {
        let wait = if all_read { REFRESH_EVERY } else { PERSIST_EVERY };
        self.due = elapsed.saturating_add(wait);
    }
}

/// Takes over the edits of a job that was read again. Returns `false` if the object is deleted or another one.
#[must_use]
pub fn take_over_edits(job: &mut JobObject, read: Option<JobObject>) -> bool {
    let same = read.filter(|read| read.uid == job.uid && !read.deleting);
    let exists = same.is_some();
    // Only the operator writes the status; if it differs, the next write detects the conflict.
    if let Some(read) = same.filter(|read| read.status == job.status) {
        *job = read;
    }
    exists
}

/// Whether the rules as they are now allow a running job, and the verified owner of the bucket that the operator's
/// own identity reads for it.
pub fn rules_allow_run(
    (rules, tenant): (&TenancyRules, &Tenant),
    spec: &JobSpec,
    source_spec: &SourceSpec,
    source_owner: Option<&str>,
) -> bool {
    let bucket = source_bucket(source_spec);
    let owner_allowed = |owner| rules.allow_source_owner(tenant, spec, bucket, owner).is_ok();
    let allowed = rules.allow_job(tenant, spec, &source_spec.buckets());
    allowed.is_ok() && source_owner.is_none_or(owner_allowed)
}

/// Whether a run may continue with the grant as it is now. `denied` are the objects that a Deny covered when the run
/// started: the calls that it fails, or no longer fails, are decided at a start.
pub fn stays_open(
    job: &JobObject,
    spec: &JobSpec,
    source_spec: &SourceSpec,
    (grant, denied): (Option<&GrantObject>, &[String]),
    now: Timestamp,
) -> bool {
    let covered = grant.map_or(&[][..], |grant| grant.status.denied_objects.as_slice());
    covered == denied && evaluate_gate(job, spec, source_spec, grant, now) == GateDecision::Open
}

/// Whether the account of credentials has to be checked that a run has fetched again. `known` is the AccessKey ID in
/// use: another one may belong to another account, whose project of the same name would be billed.
pub fn needs_account_check(known: &str, fetched: &str, is_rejected: bool) -> bool {
    fetched != known || is_rejected
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::JobStatus;
    use crate::core::job::{spec_with, validated_source};

    #[test]
    fn a_run_reads_its_object_at_once_then_every_ten_seconds_and_sooner_after_a_failure() {
        let seconds = Duration::from_secs;
        let mut schedule = RefreshSchedule::default();
        assert!(schedule.is_due(Duration::ZERO));
        schedule.tried(true, seconds(3));
        assert!(!schedule.is_due(Duration::from_millis(12_999)) && schedule.is_due(seconds(13)));
        schedule.set_due();
        assert!(schedule.is_due(seconds(4)));
        schedule.tried(false, seconds(4));
        assert!(!schedule.is_due(Duration::from_millis(4_999)) && schedule.is_due(seconds(5)));
    }

    #[test]
    fn edits_are_taken_over_unless_another_client_has_written_the_status() {
        let known = JobObject::bare("media", "one", Err(String::new()));
        let mut edited = known.clone();
        edited.generation = 2;
        let mut written = edited.clone();
        written.status = JobStatus {
            observed_generation: Some(2),
            ..JobStatus::default()
        };
        let mut deleted = edited.clone();
        deleted.deleting = true;
        let mut recreated = edited.clone();
        recreated.uid = "other".to_owned();
        for (read, expected) in [
            (Some(edited), (true, 2)),
            (Some(written), (true, 1)),
            (Some(deleted), (false, 1)),
            (Some(recreated), (false, 1)),
            (None, (false, 1)),
        ] {
            let mut job = known.clone();
            let exists = take_over_edits(&mut job, read);
            assert_eq!((exists, job.generation), expected);
        }
    }

    #[test]
    fn a_run_is_allowed_by_the_rules_as_they_are_now_and_so_is_the_owner_of_its_source() {
        let source = json!({"prefix": {"bucket": "pics", "credentials": {"source": "Operator"}}});
        let spec = spec_with(&json!({"source": source}));
        let source_spec = validated_source(&spec).unwrap();
        let rules = json!({"rules": [{"namespaces": {"names": ["media"]}, "kinds": ["ImageScoreJob"],
            "credentialSources": ["Operator"], "buckets": ["pics"], "projects": ["p"], "granteeUIDs": ["12345"]}]});
        let rules: TenancyRules = serde_json::from_value(rules).unwrap();
        for (namespace, owner, allowed) in [
            ("media", None, true),
            ("media", Some("12345"), true),
            ("media", Some("1"), false),
            ("other", None, false),
        ] {
            let tenant = Tenant {
                name: namespace.to_owned(),
                ..Tenant::default()
            };
            let found = rules_allow_run((&rules, &tenant), &spec, &source_spec, owner);
            assert_eq!(found, allowed, "{namespace} {owner:?}");
        }
    }

    #[test]
    fn a_run_continues_while_the_gate_is_open_and_the_denied_objects_are_the_same() {
        let source = json!({"uris": ["oss://pics/a.jpg"]});
        let spec = spec_with(&json!({"source": source}));
        let named = spec_with(&json!({"source": source, "grantRef": {"name": "pics"}}));
        let source_spec = validated_source(&spec).unwrap();
        let job = JobObject::bare("media", "one", Ok(spec.clone()));
        let stays = |spec: &JobSpec, grant: &GrantObject, denied: &[String]| {
            stays_open(
                &job,
                spec,
                &source_spec,
                (Some(grant), denied),
                Timestamp::UNIX_EPOCH,
            )
        };
        let mut grant = GrantObject::bare("media", "pics");
        let denied = ["pics/b/*".to_owned()];
        assert!(stays(&spec, &grant, &[]) && !stays(&spec, &grant, &denied));
        assert!(!stays(&named, &grant, &[]), "it is not live");
        grant.status.denied_objects = denied.to_vec();
        assert!(stays(&spec, &grant, &denied) && !stays(&spec, &grant, &[]));
    }

    #[test]
    fn other_credentials_and_rejected_ones_are_checked_again() {
        assert!(!needs_account_check("LTAI1", "LTAI1", false));
        assert!(needs_account_check("LTAI1", "LTAI2", false));
        assert!(needs_account_check("LTAI1", "LTAI1", true));
    }
}
