//! For which dates OSS accepts a session that has just been opened. The operator dates a policy write ten minutes
//! back, so that a session would be used for a time before it was issued.

use super::answer_head::{Answered, shown};
use super::check::Check;

/// Dates of the reads, in seconds after the session was opened.
pub const SESSION_DATES: [i64; 4] = [-600, -890, -910, 890];

/// What OSS answers to reads with a new session.
#[derive(Clone, Debug)]
pub struct SessionDates {
    /// Whether it is the session of a grant, whose policy writes are dated back.
    pub of_grant: bool,
    /// To a read dated as it was sent.
    pub now: Answered,
    /// To the same read with each of the dates.
    pub dated: Vec<(i64, Answered)>,
}

impl SessionDates {
    /// Whether OSS accepted a date, as it answered like to a read dated now; `None` if that does not follow.
    fn accepts(&self, seconds: i64) -> Option<bool> {
        let (_, answer) = self.dated.iter().find(|(date, _)| *date == seconds)?;
        let (now, then) = (self.now.as_ref().ok()?, answer.as_ref().ok()?);
        let passes = |head: &super::AnswerHead| {
            head.error
                .as_ref()
                .is_some_and(|error| error.is_transient() && !error.is_clock_skew())
        };
        if passes(now) || passes(then) || now.rejects_caller() {
            return None;
        }
        let code = |head: &super::AnswerHead| head.error.as_ref().map(|error| error.code.clone());
        Some(now.status == then.status && code(now) == code(then))
    }

    /// Whether a session is valid ten minutes before it was issued.
    pub(super) fn is_valid_before(&self) -> Option<bool> {
        self.accepts(-600)
    }

    /// Whether the limit is the documented one; `None` if that does not follow.
    pub(super) fn has_documented_limit(&self) -> Option<bool> {
        // A session that is not valid yet says nothing about dates.
        if self.is_valid_before() != Some(true) {
            return None;
        }
        let ahead = self.accepts(890)?;
        Some(self.accepts(-890)? && !self.accepts(-910)? && ahead)
    }

    pub(super) fn check(&self) -> Check {
        let verdict = match (self.is_valid_before(), self.has_documented_limit()) {
            (Some(true), Some(true)) => {
                "valid before it was issued, and a date may be 15 minutes off, as documented"
            }
            (Some(true), Some(false)) => {
                "valid before it was issued, and a date may not be 15 minutes off, as documented"
            }
            (Some(true), None) => "valid before it was issued",
            (Some(false), _) => "not valid before it was issued",
            (None, _) => "not known whether it is valid before it was issued",
        };
        let dated = self.dated.iter().map(|(seconds, answer)| {
            let answer = if self.accepts(*seconds) == Some(true) {
                "accepted".to_owned()
            } else {
                shown(answer)
            };
            format!("{}: {answer}", offset(*seconds))
        });
        let dated: Vec<String> = dated.collect();
        let seen = format!(
            "{verdict}: a read dated now: {}; {}",
            shown(&self.now),
            dated.join("; ")
        );
        let name = "session-dates";
        if self.of_grant && self.is_valid_before() == Some(false) {
            return Check::warning(
                name,
                seen,
                "use an AccessKey pair without assumeRole for the grant, because policy writes are dated ten minutes back",
            );
        }
        Check::ok(name, seen)
    }
}

fn offset(seconds: i64) -> String {
    let (minutes, rest) = (seconds.abs() / 60, seconds.abs() % 60);
    let rest = if rest == 0 {
        String::new()
    } else {
        format!(" {rest} s")
    };
    let side = if seconds < 0 { "earlier" } else { "later" };
    format!("{minutes} min{rest} {side}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::doctor::{AnswerFormat, AnswerHead, Level};
    use crate::core::error::{CloudError, CloudErrorKind};

    fn head(refused: Option<(CloudErrorKind, &str)>) -> AnswerHead {
        AnswerHead {
            status: if refused.is_some() { 403 } else { 200 },
            error: refused.map(|(kind, code)| CloudError::new(kind, code)),
            ec: None,
            named_region: None,
            format: AnswerFormat::Xml,
        }
    }

    #[test]
    fn a_date_is_accepted_if_it_is_answered_like_one_of_now() {
        let yes = || Ok(head(None));
        let skewed = || Ok(head(Some((CloudErrorKind::Unavailable, "RequestTimeTooSkewed"))));
        let denied = || Ok(head(Some((CloudErrorKind::AccessDenied, "AccessDenied"))));
        let invalid = || {
            Ok(head(Some((
                CloudErrorKind::CredentialsRejected,
                "InvalidSecurityToken",
            ))))
        };
        let slow = || Ok(head(Some((CloudErrorKind::Unavailable, "InternalError"))));
        for (now, dated, valid, limit) in [
            (yes(), [yes(), yes(), skewed(), yes()], Some(true), Some(true)),
            (yes(), [yes(), yes(), yes(), yes()], Some(true), Some(false)),
            (yes(), [yes(), skewed(), skewed(), yes()], Some(true), Some(false)),
            (
                denied(),
                [denied(), denied(), skewed(), denied()],
                Some(true),
                Some(true),
            ),
            (yes(), [invalid(), invalid(), skewed(), yes()], Some(false), None),
            (yes(), [slow(), yes(), skewed(), yes()], None, None),
            (yes(), [yes(), yes(), slow(), yes()], Some(true), None),
            (
                invalid(),
                [invalid(), invalid(), invalid(), invalid()],
                None,
                None,
            ),
        ] {
            let found = SessionDates {
                of_grant: true,
                now,
                dated: SESSION_DATES.into_iter().zip(dated).collect(),
            };
            assert_eq!(found.is_valid_before(), valid, "{found:?}");
            assert_eq!(found.has_documented_limit(), limit, "{found:?}");
            let is_warning = found.check().level == Level::Warning;
            assert_eq!(is_warning, valid == Some(false), "{found:?}");
            let of_job = SessionDates {
                of_grant: false,
                ..found
            };
            assert_eq!(of_job.check().level, Level::Ok);
        }
    }
}
