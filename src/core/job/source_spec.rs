//! The source as the spec of a job names it, and what the spec reveals about the images before the source is read.

use super::JobObject;
use crate::api::JobSpec;
use crate::core::place::check_object_path;
use crate::core::validate::{
    ObjectUri, ValidationError, check_bucket, check_namespace_name, check_object_name, check_project,
    check_region, check_role, check_uid,
};

/// The images of a job, as far as the spec defines them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSpec {
    /// Listed in the spec, in order.
    Uris(Vec<ObjectUri>),
    /// All objects below a prefix.
    Prefix {
        /// The bucket.
        bucket: String,
        /// Prefix of the keys.
        prefix: String,
    },
    /// The lines of an object.
    Manifest(ObjectUri),
}

impl SourceSpec {
    /// Returns the buckets that are known before the source is read.
    pub fn buckets(&self) -> Vec<&str> {
        match self {
            Self::Uris(images) => {
                let mut buckets: Vec<&str> = images.iter().map(|i| i.bucket.as_str()).collect();
                buckets.dedup();
                buckets
            }
            Self::Prefix { bucket, .. } => vec![bucket],
            Self::Manifest(object) => vec![&object.bucket],
        }
    }
}

/// Returns the valid spec of a job, and its source.
///
/// # Errors
/// Returns the message for the status of a job whose spec is invalid.
pub fn valid_spec(job: &JobObject) -> Result<(JobSpec, SourceSpec), String> {
    let spec = job.spec.as_ref().map_err(Clone::clone)?;
    let source_spec = validated_source(spec).map_err(|error| error.to_string())?;
    Ok((spec.clone(), source_spec))
}

/// Validates every name of a spec and returns the images as far as the spec defines them.
///
/// # Errors
/// The first field that violates its grammar.
pub fn validated_source(spec: &JobSpec) -> Result<SourceSpec, ValidationError> {
    check_project("spec.project.name", &spec.project.name)?;
    check_region("spec.project.region", &spec.project.region)?;
    check_uid("spec.project.accountUID", &spec.project.account_uid)?;
    if let Some(role) = &spec.access.passed_role {
        check_role("spec.access.passedRole", role)?;
    }
    if let Some(chain) = &spec.access.role_chain {
        check_role("spec.access.roleChain.serviceRole", &chain.service_role)?;
        for link in &chain.chain {
            check_role("spec.access.roleChain.chain.role", &link.role)?;
            check_uid("spec.access.roleChain.chain.assumeRoleFor", &link.assume_role_for)?;
        }
    }
    if let Some(grant) = &spec.grant_ref {
        check_object_name("spec.grantRef.name", &grant.name)?;
        if let Some(namespace) = &grant.namespace {
            check_namespace_name("spec.grantRef.namespace", namespace)?;
        }
    }
    let source = &spec.source;
    match (&source.prefix, &source.manifest) {
        (Some(prefix), None) if source.uris.is_empty() => {
            check_bucket("spec.source.prefix.bucket", &prefix.bucket)?;
            if prefix.prefix.chars().count() > 1023 || prefix.prefix.chars().any(char::is_control) {
                let rule = "must be at most 1,023 characters without control characters";
                return Err(ValidationError {
                    field: "spec.source.prefix.prefix",
                    rule,
                });
            }
            check_start("spec.source.prefix.prefix", &prefix.prefix)?;
            Ok(SourceSpec::Prefix {
                bucket: prefix.bucket.clone(),
                prefix: prefix.prefix.clone(),
            })
        }
        (None, Some(manifest)) if source.uris.is_empty() => {
            let object = ObjectUri::parse("spec.source.manifest.uri", &manifest.uri)?;
            check_start("spec.source.manifest.uri", &object.key)?;
            check_object_path("spec.source.manifest.uri", &object.key)?;
            Ok(SourceSpec::Manifest(object))
        }
        (None, None) if !source.uris.is_empty() => {
            let uris = source.uris.iter();
            let images = uris.map(|uri| ObjectUri::parse("spec.source.uris", uri));
            let images: Vec<_> = images.collect::<Result<_, _>>()?;
            for image in &images {
                check_start("spec.source.uris", &image.key)?;
            }
            Ok(SourceSpec::Uris(images))
        }
        _ => Err(ValidationError {
            field: "spec.source",
            rule: "must have exactly one of uris, prefix and manifest",
        }),
    }
}

/// Checks the start of a key or of a prefix of keys.
fn check_start(field: &'static str, key: &str) -> Result<(), ValidationError> {
    let rule = "must not start with / or a backslash: object keys have no leading slash";
    let starts = key.starts_with(['/', '\\']);
    (!starts).then_some(()).ok_or(ValidationError { field, rule })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_exactly_one_of_a_list_a_prefix_and_a_manifest() {
        let uris = r#""uris":["oss://pics/a.jpg","oss://pics/b.jpg","oss://docs/a.jpg"]"#;
        let prefix = r#""prefix":{"bucket":"pics"}"#;
        let manifest = r#""manifest":{"uri":"oss://pics/list.txt"}"#;
        for (members, buckets) in [
            (vec![uris], Some(vec!["pics", "docs"])),
            (vec![prefix], Some(vec!["pics"])),
            (vec![manifest], Some(vec!["pics"])),
            (vec![], None),
            (vec![uris, prefix], None),
            (vec![uris, manifest], None),
            (vec![prefix, manifest], None),
        ] {
            let spec = format!(
                r#"{{"project":{{"name":"p","region":"cn-hangzhou","accountUID":"12345"}},
                "credentials":{{"source":"Secret","secretRef":{{"name":"s"}}}},"source":{{{}}}}}"#,
                members.join(",")
            );
            let spec = serde_json::from_str(&spec).unwrap();
            let source = validated_source(&spec).ok();
            assert_eq!(source.as_ref().map(SourceSpec::buckets), buckets, "{members:?}");
        }
    }

    #[test]
    fn a_spec_that_does_not_decode_or_is_invalid_has_a_message() {
        let of = |spec| valid_spec(&JobObject::bare("media", "one", spec)).map(|(_, source)| source);
        assert_eq!(
            of(Err("unknown field".to_owned())),
            Err("unknown field".to_owned())
        );
        let spec = crate::core::job::spec_with(&serde_json::json!({"source": {}}));
        assert!(of(Ok(spec)).is_err_and(|message| message.contains("spec.source")));
    }
}
