//! How long what was read or checked is used before it is read or checked again.

use std::time::Duration;

/// How long the result of a recheck decides about a Deny: it may be removed at any time, without a trigger.
const RECHECK_VALID: Duration = Duration::from_secs(10);
/// How long a read of a grant is used without a change, in case the watch is interrupted.
const GRANT_READ: Duration = Duration::from_secs(5);

/// Whether the result of a recheck of this age still decides.
pub fn is_recheck_valid(age: Duration) -> bool {
    age < RECHECK_VALID
}

/// Whether a read of a grant that began this long ago is used. `changed` says whether the watch has shown a change since.
pub fn is_grant_read_usable(age: Duration, changed: bool) -> bool {
    !changed && age < GRANT_READ
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_old_or_has_changed_is_read_again() {
        let age = Duration::from_millis;
        assert!(is_recheck_valid(age(9_999)) && !is_recheck_valid(age(10_000)));
        assert!(is_grant_read_usable(age(4_999), false));
        assert!(!is_grant_read_usable(age(5_000), false) && !is_grant_read_usable(age(0), true));
    }
}
