//! Whether a grant covers a job: its account, the action, the region, the bucket and every key.

use super::SourceSpec;
use crate::api::{GrantSpec, JobReason, JobSpec, OssAction, Preset};
use crate::core::validate::ObjectUri;

/// Returns the reason and message if the grant does not cover the job; `None` if it does.
pub fn grant_mismatch(
    spec: &JobSpec,
    source_spec: &SourceSpec,
    grant: &GrantSpec,
) -> Option<(JobReason, String)> {
    let mismatch = |message: String| Some((JobReason::GrantMismatch, message));
    let (granted, account) = (&grant.grantee.account_uid, &spec.project.account_uid);
    if granted != account {
        return mismatch(format!(
            "is for account {granted}, not {account}: correct the grant, or create another job with a project of account {granted}"
        ));
    }
    if grant.access.preset == Preset::Custom && !grant.access.actions.contains(&OssAction::GetObject) {
        let message = "does not include oss:GetObject: add it to access.actions, then create another job";
        return mismatch(message.to_owned());
    }
    if grant.bucket.region != spec.project.region {
        return Some((
            JobReason::RegionMismatch,
            format!(
                "is for a bucket in {}, and the project is in {}: create another job with a project in the region of the bucket",
                grant.bucket.region, spec.project.region
            ),
        ));
    }
    let (missed, bucket) = match source_spec {
        SourceSpec::Uris(images) => {
            let (index, image) = images.iter().enumerate().find(|(_, i)| !covers(grant, i))?;
            (format!("spec.source.uris[{index}]"), &image.bucket)
        }
        SourceSpec::Prefix { bucket, prefix }
            if *bucket == grant.bucket.name && key_in_prefixes(grant, prefix) =>
        {
            return None;
        }
        SourceSpec::Prefix { bucket, prefix } => (format!("every key below oss://{bucket}/{prefix}"), bucket),
        // The lines are checked as they are read.
        SourceSpec::Manifest(_) => return None,
    };
    mismatch(not_covered(grant, &missed, bucket) + ", then create another job")
}

/// Says why a grant does not cover images of a bucket, and what to correct.
pub(super) fn not_covered(grant: &GrantSpec, images: &str, bucket: &str) -> String {
    let granted = &grant.bucket.name;
    if bucket == granted {
        format!("does not cover {images} by its access.prefixes: add a prefix")
    } else {
        format!("is for bucket {granted}, and {images} is in {bucket}: name the grant of {bucket}")
    }
}

/// Returns `true` if a grant covers an image: same bucket, and a granted prefix.
pub fn covers(grant: &GrantSpec, image: &ObjectUri) -> bool {
    image.bucket == grant.bucket.name && key_in_prefixes(grant, &image.key)
}

fn key_in_prefixes(grant: &GrantSpec, key: &str) -> bool {
    let prefixes = &grant.access.prefixes;
    prefixes.is_empty() || prefixes.iter().any(|p| key.starts_with(p.as_str()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::grant::spec_with as grant_spec_with;
    use crate::core::job::{spec_with, validated_source};

    #[test]
    fn a_grant_must_include_the_action_and_cover_the_bucket_and_every_key() {
        let prefix = |bucket: &str, prefix: &str| json!({"prefix": {"bucket": bucket, "prefix": prefix}});
        let covered = prefix("pics-1", "a/b");
        let lists = |action: &str| json!({"preset": "Custom", "actions": [action]});
        let other =
            "is for bucket pics-1, and spec.source.uris[1] is in pics-2: name the grant of pics-2, then";
        let outside =
            "does not cover every key below oss://pics-1/b by its access.prefixes: add a prefix, then";
        for (access, source, message) in [
            (json!({}), prefix("pics-1", ""), ""),
            (
                json!({}),
                prefix("pics-2", ""),
                "is in pics-2: name the grant of pics-2, then",
            ),
            (
                json!({}),
                json!({"uris": ["oss://pics-1/a", "oss://pics-2/a"]}),
                other,
            ),
            (json!({"prefixes": ["a/"]}), covered.clone(), ""),
            (json!({"prefixes": ["a/"]}), prefix("pics-1", "b"), outside),
            (
                lists("oss:ListObjects"),
                covered.clone(),
                "add it to access.actions",
            ),
            (lists("oss:GetObject"), covered.clone(), ""),
            (json!({"preset": "Minimal"}), covered, ""),
        ] {
            let spec = spec_with(&json!({"source": source, "grantRef": {"name": "pics"}}));
            let grant = grant_spec_with(&json!({"credentials": {"source": "Operator"}, "access": access}));
            let found = grant_mismatch(&spec, &validated_source(&spec).unwrap(), &grant);
            let said = found.map_or_else(String::new, |(_, message)| message);
            assert!(
                said.contains(message) && said.is_empty() == message.is_empty(),
                "{said}"
            );
        }
    }
}
