//! What a job reports when its source cannot be read, or is not what the job asked for.

use super::coverage::not_covered;
use super::phase::{End, Phase};
use crate::api::{GrantSpec, JobReason, JobSpec};
use crate::core::error::{CORRECT_CLOCK, CloudError, CloudErrorKind};
use crate::core::identity::Identity;
use crate::core::refusal::RefusedBy;
use crate::core::validate::ObjectUri;

/// The source is longer than the operator reads.
pub(super) fn source_too_long(spec: &JobSpec) -> &'static str {
    if spec.source.prefix.is_some() {
        "The prefix holds more than 5,000,000 objects: create another job with a longer prefix"
    } else {
        "The manifest holds more than 64 MiB: split the source over several jobs"
    }
}

/// The first line of a manifest that the grant does not cover; `None` if it covers all of them.
pub(super) fn uncovered_line(grant: &GrantSpec, lines: &[ObjectUri]) -> Option<End> {
    let ObjectUri { bucket, key } = lines.iter().find(|line| !super::covers(grant, line))?;
    let line = format!("line oss://{bucket}/{key} of the manifest");
    let message = format!(
        "The grant {}, or correct the line, then create another job",
        not_covered(grant, &line, bucket)
    );
    Some(End::Failed(JobReason::GrantMismatch, message))
}

/// The namespace could not be read, so the rules decide nothing about the source.
pub fn namespace_unknown() -> Phase {
    let message = "The namespace could not be read, so the tenancy rules cannot be evaluated; retrying";
    Phase::SourceUnreadable {
        message: message.to_owned(),
        stalled: false,
    }
}

/// The owner of the source's bucket is not known, so the operator's own identity may not read it; with the error of
/// OSS if there is one.
pub fn source_owner_unknown(bucket: &str, error: Option<&CloudError>) -> Phase {
    let Some(error) = error else {
        let message = format!(
            "The owner of bucket {bucket} cannot be read, and the operator's own identity reads only buckets whose owner is verified: allow oss:GetBucketInfo for it, or set other credentials for the source"
        );
        return Phase::SourceUnreadable {
            message,
            stalled: true,
        };
    };
    let reference = error.code_and_refusal();
    let message = if error.is_clock_skew() {
        format!(
            "The owner of bucket {bucket} could not be read, because OSS rejects the time of the requests ({reference}): {CORRECT_CLOCK}"
        )
    } else {
        format!("The owner of bucket {bucket} could not be read ({reference}); retrying")
    };
    Phase::SourceUnreadable {
        message,
        stalled: !error.is_transient(),
    }
}

fn source_name(spec: &JobSpec) -> String {
    match (&spec.source.prefix, &spec.source.manifest) {
        (Some(prefix), _) => format!("oss://{}/{}", prefix.bucket, prefix.prefix),
        (None, Some(manifest)) => manifest.uri.clone(),
        (None, None) => String::new(),
    }
}

/// The source has more items than were counted.
pub fn source_grew(spec: &JobSpec, items: usize) -> End {
    let message = format!(
        "{} has more items than the {items} counted when the job started, and the results so far are kept: create another job",
        source_name(spec)
    );
    End::Failed(JobReason::SourceChanged, message)
}

/// The phase of a job whose source cannot be read; `identity` is that of the source.
pub fn source_failed(spec: &JobSpec, identity: Option<&Identity>, error: &CloudError) -> Phase {
    let (reference, what) = (error.code_and_refusal(), source_name(spec));
    let whose = identity.map_or_else(|| "the source".to_owned(), Identity::describe);
    let failed = |reason, message| Phase::Ended(End::Failed(reason, message));
    if error.refusal.by == Some(RefusedBy::PublicEndpoint) {
        let fix = error.refusal.fix().unwrap_or_default();
        let message = format!("{what} cannot be read ({reference}): {fix}");
        Phase::Stalled(JobReason::EndpointForbidden, message)
    } else if error.code == "PreconditionFailed" {
        let message = format!("{what} was replaced while the job ran: create another job");
        failed(JobReason::SourceChanged, message)
    } else if error.kind == CloudErrorKind::WrongRegion {
        let region = &spec.project.region;
        let message = format!(
            "{what} is not in {region}, the region of the project ({reference}): create another job with a project in the region of the bucket"
        );
        failed(JobReason::RegionMismatch, message)
    } else if error.kind == CloudErrorKind::Unavailable && error.is_clock_skew() {
        let message = format!(
            "OSS rejects the requests for {what}, because their time is wrong ({reference}): {CORRECT_CLOCK}"
        );
        Phase::SourceUnreadable {
            message,
            stalled: false,
        }
    } else if error.code == "ResponseTooLarge" {
        let message = format!(
            "{what} cannot be read ({reference}): the answer is longer than the part of the source that was asked for, so that a proxy or a server at the endpoint of OSS does not do what OSS does: correct the endpoint, or remove the proxy"
        );
        Phase::SourceUnreadable {
            message,
            stalled: true,
        }
    } else if error.is_transient() {
        let next = error
            .certificate_advice()
            .map_or_else(|| "; retrying".to_owned(), |advice| format!(": {advice}"));
        Phase::SourceUnreadable {
            message: format!("{what} could not be read ({reference}){next}"),
            stalled: false,
        }
    } else if error.rejects_credentials() {
        let message = format!(
            "OSS rejected the credentials of {whose} ({reference}): provide valid credentials; the job then resumes"
        );
        Phase::SourceUnreadable {
            message,
            stalled: true,
        }
    } else {
        let fix = error
            .refusal
            .fix()
            .map_or_else(|| readable(spec, error), ToOwned::to_owned);
        let message = format!("{what} cannot be read with the credentials of {whose} ({reference}): {fix}");
        Phase::SourceUnreadable {
            message,
            stalled: true,
        }
    }
}

/// Returns what makes a source readable, if the answer of OSS does not say more than its code.
fn readable(spec: &JobSpec, error: &CloudError) -> String {
    let (permission, field) = match spec.source.prefix {
        Some(_) => ("oss:ListObjects on the bucket", "source.prefix.credentials"),
        None => ("oss:GetObject on it", "source.manifest.credentials"),
    };
    let other = spec.source.credentials().map_or("", |_| "other ");
    if error.kind == CloudErrorKind::AccessDenied {
        return format!("allow {permission}, or create another job with {other}{field}");
    }
    let what = if error.kind == CloudErrorKind::NoSuchBucket {
        "create the bucket"
    } else if error.code == "NoSuchKey" {
        "create it"
    } else {
        "correct what the code names"
    };
    format!("{what}, or create another job with another source")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::grant::spec_with as grant_spec_with;
    use crate::core::job::spec_with;

    fn error(kind: CloudErrorKind, code: &str) -> CloudError {
        CloudError {
            status: Some(403),
            ..CloudError::new(kind, code)
        }
    }

    fn spec(source: &serde_json::Value) -> JobSpec {
        spec_with(&json!({"source": source}))
    }

    #[test]
    fn a_source_that_may_recover_is_read_again_and_another_one_needs_action() {
        let job = spec(&json!({"manifest": {"uri": "oss://pics/list.txt"}}));
        let phase = |kind, code| source_failed(&job, None, &error(kind, code));
        let waits = |phase| matches!(phase, Phase::SourceUnreadable { stalled: false, .. });
        let stalls = |phase| matches!(phase, Phase::SourceUnreadable { stalled: true, .. });
        assert!(waits(phase(CloudErrorKind::Throttled, "Throttling")));
        for (code, skewed) in [("RequestTimeTooSkewed", true), ("ServiceBusy", false)] {
            let failed = phase(CloudErrorKind::Unavailable, code);
            assert!(
                matches!(&failed, Phase::SourceUnreadable { message, stalled: false }
                if message.contains(CORRECT_CLOCK) == skewed)
            );
        }
        let whole = phase(CloudErrorKind::Unanswered, "ResponseTooLarge");
        assert!(
            matches!(&whole, Phase::SourceUnreadable { message, stalled: true } if message.contains("correct the endpoint")),
            "{whole:?}"
        );
        let skew = error(CloudErrorKind::Unavailable, "RequestTimeTooSkewed");
        let owner = source_owner_unknown("pics", Some(&skew));
        assert!(
            matches!(&owner, Phase::SourceUnreadable { message, stalled: false } if message.contains(CORRECT_CLOCK)),
            "{owner:?}"
        );
        assert!(stalls(phase(CloudErrorKind::AccessDenied, "AccessDenied")));
        assert!(stalls(phase(
            CloudErrorKind::CredentialsExpired,
            "SecurityTokenExpired"
        )));
        let changed = phase(CloudErrorKind::RequestRejected, "PreconditionFailed");
        assert!(matches!(
            changed,
            Phase::Ended(End::Failed(JobReason::SourceChanged, _))
        ));
        let elsewhere = phase(CloudErrorKind::WrongRegion, "AccessDenied");
        assert!(matches!(
            elsewhere,
            Phase::Ended(End::Failed(JobReason::RegionMismatch, _))
        ));
    }

    #[test]
    fn an_unreadable_source_is_created_only_if_it_does_not_exist() {
        use CloudErrorKind::{AccessDenied, NoSuchBucket, RequestRejected};
        let prefix = json!({"prefix": {"bucket": "pics"}});
        let owned = json!({"prefix": {"bucket": "pics", "credentials": {"source": "Operator"}}});
        let manifest = json!({"manifest": {"uri": "oss://pics/list.txt"}});
        let list = "allow oss:ListObjects on the bucket, or create another job with";
        for (source, kind, code, fix) in [
            (
                &prefix,
                AccessDenied,
                "AccessDenied",
                format!("{list} source.prefix.credentials"),
            ),
            (
                &owned,
                AccessDenied,
                "AccessDenied",
                format!("{list} other source.prefix.credentials"),
            ),
            (
                &manifest,
                AccessDenied,
                "AccessDenied",
                "allow oss:GetObject on it, or create another job with source.manifest.credentials"
                    .to_owned(),
            ),
            (
                &prefix,
                NoSuchBucket,
                "NoSuchBucket",
                "create the bucket, or".to_owned(),
            ),
            (
                &manifest,
                RequestRejected,
                "NoSuchKey",
                "create it, or".to_owned(),
            ),
            (
                &manifest,
                RequestRejected,
                "Odd",
                "correct what the code names".to_owned(),
            ),
        ] {
            let failed = source_failed(&spec(source), None, &error(kind, code));
            let Phase::SourceUnreadable { message, stalled } = failed else {
                panic!("{source} {code}: {failed:?}");
            };
            assert!(
                stalled && message.contains(&format!("({code}): {fix}")),
                "{message}"
            );
        }
    }

    #[test]
    fn an_owner_that_oss_does_not_name_needs_action() {
        let unnamed = source_owner_unknown("pics", None);
        assert!(
            matches!(&unnamed, Phase::SourceUnreadable { message, stalled: true } if message.contains("allow oss:GetBucketInfo")),
            "{unnamed:?}"
        );
        let denied = error(CloudErrorKind::AccessDenied, "AccessDenied");
        let denied = source_owner_unknown("pics", Some(&denied));
        assert!(matches!(denied, Phase::SourceUnreadable { stalled: true, .. }));
    }

    #[test]
    fn the_first_line_that_the_grant_does_not_cover_is_named() {
        let grant = grant_spec_with(&json!({
            "credentials": {"source": "Operator"}, "access": {"prefixes": ["a/"]},
        }));
        let lines = ["a/1.jpg", "b/2.jpg", "c/3.jpg"].map(|key| ObjectUri {
            bucket: "pics-1".to_owned(),
            key: key.to_owned(),
        });
        assert_eq!(uncovered_line(&grant, &lines[..1]), None);
        let Some(End::Failed(_, found)) = uncovered_line(&grant, &lines) else {
            panic!("the second line is not covered");
        };
        assert!(
            found.starts_with("The grant does not cover line oss://pics-1/b/2.jpg of the manifest by its"),
            "{found}"
        );
        let other = ObjectUri {
            bucket: "pics-2".to_owned(),
            key: "a/1.jpg".to_owned(),
        };
        let Some(End::Failed(_, found)) = uncovered_line(&grant, &[other]) else {
            panic!("the line is in another bucket");
        };
        assert!(
            found
                .contains("is for bucket pics-1, and line oss://pics-2/a/1.jpg of the manifest is in pics-2"),
            "{found}"
        );
    }

    #[test]
    fn a_source_that_grew_is_named_with_the_number_of_counted_items() {
        let End::Failed(_, message) = source_grew(&spec(&json!({"prefix": {"bucket": "pics"}})), 7) else {
            panic!("the job fails");
        };
        assert!(
            message.starts_with("oss://pics/ has more items than the 7 counted"),
            "{message}"
        );
    }
}
