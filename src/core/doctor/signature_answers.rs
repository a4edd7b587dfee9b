//! What IMM answers to calls whose signature, key, date or nonce is wrong, and how far a date may be off.

use k8s_openapi::jiff::SignedDuration;

use super::answer_head::{Answered, shown_with_format};
use super::check::Check;
use crate::core::error::CloudErrorKind;

/// How far the date of a request may be off, by the documentation. OSS, IMM and STS accept 15 minutes; policy writes
/// are dated by the clock of OSS.
pub const DATE_TOLERANCE: SignedDuration = SignedDuration::from_mins(15);
/// How long ago a call is dated that should be accepted, and one that should not.
pub const CALL_DATES: [SignedDuration; 2] = [SignedDuration::from_mins(14), SignedDuration::from_mins(16)];

/// What IMM answers.
#[derive(Clone, Debug)]
pub struct SignatureAnswers {
    /// To a call dated 14 minutes ago.
    pub recent: Answered,
    /// To the same call once more, with its nonce.
    pub repeated: Answered,
    /// To a call dated 16 minutes ago.
    pub old: Answered,
    /// To a call that is signed with another secret.
    pub wrong_secret: Answered,
    /// To a call that is signed with an AccessKey ID that nobody has.
    pub unknown_key: Answered,
}

/// Whether IMM accepted a signature; `None` if an answer does not say.
fn accepts(answer: &Answered) -> Option<bool> {
    let head = answer.as_ref().ok()?;
    match &head.error {
        None => Some(true),
        Some(error) if error.is_clock_skew() => Some(false),
        // Permissions are looked at when the caller is known.
        Some(error) => {
            (error.kind == CloudErrorKind::AccessDenied && error.refusal.action.is_some()).then_some(true)
        }
    }
}

impl SignatureAnswers {
    /// Whether IMM accepted the dates of 14 and 16 minutes ago.
    fn dates(&self) -> (Option<bool>, Option<bool>) {
        (accepts(&self.recent), accepts(&self.old))
    }

    /// Returns the offset of a clock from which IMM rejects calls, as far as it was seen.
    pub(super) fn tolerance(&self) -> SignedDuration {
        let [recent, old] = CALL_DATES;
        match self.dates() {
            (Some(false), _) => recent,
            (_, Some(true)) => old,
            (Some(true) | None, Some(false) | None) => DATE_TOLERANCE,
        }
    }

    /// What was seen of the dates, if it is not what the documentation says.
    pub(super) fn other_tolerance(&self) -> Option<&'static str> {
        match self.dates() {
            (Some(false), _) => Some("IMM rejected a call dated 14 minutes ago"),
            (_, Some(true)) => Some("IMM accepted a call dated 16 minutes ago"),
            (Some(true) | None, Some(false) | None) => None,
        }
    }

    /// Whether IMM accepts a nonce twice; `None` if that does not follow.
    pub(super) fn accepts_nonce_again(&self) -> Option<bool> {
        let head = self.repeated.as_ref().ok()?;
        if accepts(&self.recent) != Some(true) {
            return None;
        }
        match &head.error {
            Some(error) if error.code.starts_with("SignatureNonce") => Some(false),
            Some(error) if error.is_transient() => None,
            Some(_) if accepts(&self.repeated) != Some(true) => Some(false),
            Some(_) | None => Some(true),
        }
    }

    /// Returns the refusals of a wrong key that the operator does not take for one.
    pub(super) fn unrecognized(&self) -> Vec<String> {
        let cases = [
            ("a wrong signature", &self.wrong_secret),
            ("an unknown AccessKey ID", &self.unknown_key),
        ];
        let refusals = cases.into_iter().filter_map(|(what, answer)| {
            let head = answer.as_ref().ok()?;
            let error = head.error.as_ref();
            let is_expected = error.is_some_and(|error| {
                error.kind == CloudErrorKind::CredentialsRejected || error.is_transient()
            });
            (!is_expected).then(|| format!("{what}: {}", head.describe()))
        });
        refusals.collect()
    }

    /// Two checks: the refusals, and the dates.
    pub(super) fn checks(&self) -> Vec<Check> {
        let refusals = [
            ("a wrong signature", &self.wrong_secret),
            ("an unknown AccessKey ID", &self.unknown_key),
            ("a nonce for the second time", &self.repeated),
        ];
        let refusals = refusals.map(|(what, answer)| format!("{what}: {}", shown_with_format(answer)));
        let limit = match self.dates() {
            (Some(false), _) => "the check of the clock fails from 14 minutes on",
            (_, Some(true)) => "the check of the clock fails from 16 minutes on",
            (Some(true), Some(false)) => "the check of the clock fails from 15 minutes on, as documented",
            (Some(true) | None, Some(false) | None) => {
                "not known how far a date may be off, and the check of the clock fails from 15 minutes on, as documented"
            }
        };
        let dates = format!(
            "a call dated 14 min ago: {}; 16 min ago: {}; {limit}",
            shown_with_format(&self.recent),
            shown_with_format(&self.old)
        );
        vec![
            Check::ok("imm-signature-errors", refusals.join("; ")),
            Check::ok("imm-clock-tolerance", dates),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::doctor::{AnswerFormat, AnswerHead};
    use crate::core::error::CloudError;

    fn head(refused: Option<(CloudErrorKind, &str)>) -> AnswerHead {
        AnswerHead {
            status: if refused.is_some() { 400 } else { 200 },
            error: refused.map(|(kind, code)| CloudError::new(kind, code)),
            ec: None,
            named_region: None,
            format: AnswerFormat::Json,
        }
    }

    fn answers(recent: Answered, repeated: Answered, old: Answered) -> SignatureAnswers {
        let wrong = || Ok(head(Some((CloudErrorKind::CredentialsRejected, "Code"))));
        SignatureAnswers {
            recent,
            repeated,
            old,
            wrong_secret: wrong(),
            unknown_key: wrong(),
        }
    }

    #[test]
    fn only_a_date_that_was_judged_changes_the_tolerance() {
        let yes = || Ok(head(None));
        let skewed = || {
            Ok(head(Some((
                CloudErrorKind::Unavailable,
                "InvalidTimeStamp.Expired",
            ))))
        };
        let unknown = || {
            Ok(head(Some((
                CloudErrorKind::RequestRejected,
                "InvalidAction.NotFound",
            ))))
        };
        let silent = || Err(CloudError::new(CloudErrorKind::Unanswered, "Timeout"));
        for (recent, old, minutes, other) in [
            (yes(), skewed(), 15, false),
            (skewed(), skewed(), 14, true),
            (yes(), yes(), 16, true),
            (unknown(), unknown(), 15, false),
            (silent(), silent(), 15, false),
            (silent(), skewed(), 15, false),
        ] {
            let found = answers(recent, yes(), old);
            assert_eq!(found.tolerance(), SignedDuration::from_mins(minutes), "{found:?}");
            assert_eq!(found.other_tolerance().is_some(), other, "{found:?}");
        }
    }

    #[test]
    fn a_nonce_is_judged_only_after_its_first_use_was_accepted() {
        let used = || Ok(head(Some((CloudErrorKind::Unavailable, "SignatureNonceUsed"))));
        let slow = || Ok(head(Some((CloudErrorKind::Throttled, "Throttling"))));
        for (first, second, again) in [
            (Ok(head(None)), used(), Some(false)),
            (Ok(head(None)), Ok(head(None)), Some(true)),
            (Ok(head(None)), slow(), None),
            (used(), used(), None),
        ] {
            let found = answers(first, second, Ok(head(None)));
            assert_eq!(found.accepts_nonce_again(), again, "{found:?}");
        }
    }

    #[test]
    fn a_refusal_of_a_wrong_key_that_looks_like_another_one_is_named() {
        let mut found = answers(Ok(head(None)), Ok(head(None)), Ok(head(None)));
        assert!(found.unrecognized().is_empty());
        found.unknown_key = Ok(head(Some((CloudErrorKind::AccessDenied, "Forbidden"))));
        found.wrong_secret = Ok(head(Some((CloudErrorKind::Unavailable, "Code"))));
        assert_eq!(found.unrecognized(), ["an unknown AccessKey ID: 400 Forbidden"]);
    }
}
