//! Names of RAM roles and of their sessions.

use super::{ValidationError, ensure};

/// Checks a RAM role name: 1 to 64 of letters, digits, `.`, `_`, `-`.
pub fn check_role(field: &'static str, role: &str) -> Result<(), ValidationError> {
    let ok = role
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    ensure(
        (1..=64).contains(&role.len()) && ok,
        field,
        "must be 1 to 64 letters, digits, dots, underscores and hyphens",
    )
}

/// Checks the name of a role session: 2 to 64 of letters, digits, `.`, `@`, `_`, `-`.
pub fn check_session(field: &'static str, session: &str) -> Result<(), ValidationError> {
    let ok = session
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'@' | b'_' | b'-'));
    ensure(
        (2..=64).contains(&session.len()) && ok,
        field,
        "must be 2 to 64 letters, digits, dots, at signs, underscores and hyphens",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_session_stands_for_one_session() {
        for good in ["ab", "imm-session", "a.b@c_d", &"a".repeat(64)] {
            assert_eq!(check_session("f", good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "a",
            "*",
            "imm*",
            "a?",
            "a/b",
            "a b",
            "\u{fc}\u{fc}",
            "a\n",
            &"a".repeat(65),
        ] {
            assert!(check_session("f", bad).is_err(), "{bad:?}");
        }
    }
}
