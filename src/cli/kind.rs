//! The kinds of objects as a user names them: as for kubectl.

use crate::api::{GROUP, VERSION};

/// Names of the kind of jobs.
pub(super) const JOB_KINDS: &[&str] = &["isj", "imagescorejob", "imagescorejobs"];

/// Returns a kind in lower case and without version and group, both of which kubectl accepts.
pub(super) fn plain_kind(kind: &str) -> String {
    let kind = kind.to_ascii_lowercase();
    let plain = kind.strip_suffix(GROUP).and_then(|rest| rest.strip_suffix('.'));
    let plain = plain.map(|rest| rest.strip_suffix(&format!(".{VERSION}")).unwrap_or(rest));
    plain.unwrap_or(&kind).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_written_as_for_kubectl() {
        for (kind, plain) in [
            ("ibg", "ibg"),
            ("IBG", "ibg"),
            ("ImmBucketGrant", "immbucketgrant"),
            ("immbucketgrant.immops.dev", "immbucketgrant"),
            ("imagescorejobs.v1alpha1.immops.dev", "imagescorejobs"),
            ("ibg.example.com", "ibg.example.com"),
            ("immops.dev", "immops.dev"),
            ("", ""),
        ] {
            assert_eq!(plain_kind(kind), plain, "{kind}");
        }
    }
}
