//! Reads what earlier versions stored in the status of a grant under other names.

use crate::api::{GrantStatus, PassRoleCause, PassRoleReport};

/// Moves deprecated members of a status to the members that replaced them. A member with a value keeps it.
pub fn upgraded_grant_status(mut status: GrantStatus) -> GrantStatus {
    let sentence = status.pass_role.take();
    status.pass_role_statement = status
        .pass_role_statement
        .or_else(|| sentence.and_then(|s| pass_role_of(&s)));
    status.repeated_drift = status.repeated_drift.or(status.contest.take());
    status.contest = None;
    status
}

/// The sentences of `status.passRole` up to version 0.1.0. `None` for all others: the decision is made again.
fn pass_role_of(sentence: &str) -> Option<PassRoleReport> {
    let (written, cause) = match sentence {
        "included" => (true, PassRoleCause::PublicAccessOff),
        "omitted: passRoleStatement is Omit" => (false, PassRoleCause::OmitRequested),
        "omitted: Block Public Access is on for the bucket" => {
            (false, PassRoleCause::PublicAccessBlockOnBucket)
        }
        "omitted: Block Public Access is on for the account" => {
            (false, PassRoleCause::PublicAccessBlockOnAccount)
        }
        "omitted: Block Public Access cannot be read" => (false, PassRoleCause::PublicAccessBlockUnreadable),
        "omitted: OSS refuses a public policy" => (false, PassRoleCause::PublicPolicyRejected),
        _ => return None,
    };
    Some(PassRoleReport { written, cause })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_of_earlier_versions_are_read_once_and_not_written_again() {
        let stored: GrantStatus = serde_json::from_value(json!({
            "passRole": "omitted: Block Public Access is on for the bucket",
            "contest": {"removals": ["2026-10-01T09:58:11Z"], "level": 2, "holdUntil": "2026-10-01T10:58:11Z"},
        }))
        .unwrap();
        let upgraded = upgraded_grant_status(stored);
        let written = serde_json::to_value(&upgraded).unwrap();
        assert_eq!(
            written,
            json!({
                "passRoleStatement": {"written": false, "cause": "PublicAccessBlockOnBucket"},
                "repeatedDrift": {"removals": ["2026-10-01T09:58:11Z"], "level": 2, "holdUntil": "2026-10-01T10:58:11Z"},
            })
        );
        let again: GrantStatus = serde_json::from_value(written).unwrap();
        assert_eq!(upgraded_grant_status(again.clone()), again);
    }

    #[test]
    fn each_sentence_about_the_first_statement_is_understood() {
        use PassRoleCause as Cause;
        for (sentence, written, cause) in [
            ("included", true, Cause::PublicAccessOff),
            ("omitted: passRoleStatement is Omit", false, Cause::OmitRequested),
            (
                "omitted: Block Public Access is on for the account",
                false,
                Cause::PublicAccessBlockOnAccount,
            ),
            (
                "omitted: Block Public Access cannot be read",
                false,
                Cause::PublicAccessBlockUnreadable,
            ),
            (
                "omitted: OSS refuses a public policy",
                false,
                Cause::PublicPolicyRejected,
            ),
        ] {
            assert_eq!(
                pass_role_of(sentence),
                Some(PassRoleReport { written, cause }),
                "{sentence}"
            );
        }
        assert_eq!(pass_role_of("blocked"), None);
    }
}
