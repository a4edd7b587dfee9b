//! Questions about the cloud that reads answer, without a write and without a billed call. Each has one line of the
//! report; an answer is ok whatever it is, unless objects would not be found because of it.

use super::answer_head::{AnswerFormat, AnswerHead, Answered, shown, shown_with_format};
use super::check::Check;
use super::listed_keys::{KeyComparison, ListedKeys};
use super::name_answers::{NameAnswers, names_check};
use super::session_dates::SessionDates;
use super::signature_answers::SignatureAnswers;
use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::text::counted;

/// The answers to all questions; `None` and empty for those that were not asked.
#[derive(Clone, Debug, Default)]
pub struct QuestionFacts {
    /// What each name of OSS answers.
    pub names: Vec<NameAnswers>,
    /// What OSS answers to the account of the job about the bucket of the grant.
    pub other_account: Option<OtherAccount>,
    /// What the host of another region answers about the bucket of the grant.
    pub other_region: Option<OtherRegion>,
    /// What IMM answers to wrong signatures and dates.
    pub signatures: Option<SignatureAnswers>,
    /// What OSS answers to the dates of a new session.
    pub session_dates: Option<SessionDates>,
    /// What STS answers to each form of an exchange, with the name of the form.
    pub exchanges: Vec<(&'static str, Answered)>,
    /// The keys of the job's source.
    pub listed_keys: Option<ListedKeys>,
}

/// What OSS answers about a bucket to an account that does not own it.
#[derive(Clone, Debug)]
pub struct OtherAccount {
    /// Whether the credentials of the grant see the bucket.
    pub is_there: bool,
    /// The answer to `GetBucketInfo`.
    pub info: Answered,
    /// The answer to `GetBucketPolicy`.
    pub policy: Answered,
}

impl OtherAccount {
    /// Whether OSS answers as if the bucket did not exist; `None` if that does not follow.
    pub fn is_hidden(&self) -> Option<bool> {
        let answers = [&self.info, &self.policy];
        let is_missing = |answer: &Answered| {
            let head = answer.as_ref();
            head.is_ok_and(|head| head.is_of_kind(CloudErrorKind::NoSuchBucket))
        };
        let refuses = |answer: &Answered| {
            let head = answer.as_ref();
            head.is_ok_and(|head| {
                head.is_of_kind(CloudErrorKind::AccessDenied) && !head.is_by_callers_policy()
            })
        };
        if !self.is_there {
            None
        } else if answers.into_iter().any(is_missing) {
            Some(true)
        } else {
            answers.into_iter().all(refuses).then_some(false)
        }
    }
}

/// What the host of another region answers about a bucket.
#[derive(Clone, Debug)]
pub struct OtherRegion {
    /// The region of the host.
    pub region: &'static str,
    /// The answer to `GetBucketPolicy`.
    pub answer: Answered,
}

impl OtherRegion {
    /// Returns a region in which a bucket is not, on the same side of the border: requests across it are slow.
    pub fn other_than(region: &str) -> &'static str {
        match region {
            "cn-beijing" => "cn-hangzhou",
            "ap-southeast-1" => "ap-northeast-1",
            region if region.starts_with("cn-") => "cn-beijing",
            _ => "ap-southeast-1",
        }
    }

    /// The refusal, if the operator does not take it for a wrong region.
    pub(super) fn unrecognized(&self) -> Option<&AnswerHead> {
        let head = self.answer.as_ref().ok()?;
        let error = head.error.as_ref()?;
        let is_about_region = error.kind == CloudErrorKind::WrongRegion;
        let says_nothing = error.is_transient()
            || is_served(error)
            || matches!(
                error.kind,
                CloudErrorKind::CredentialsRejected | CloudErrorKind::CredentialsExpired
            )
            || head.is_by_callers_policy()
            || head.format != AnswerFormat::Xml;
        (!is_about_region && !says_nothing).then_some(head)
    }
}

/// Whether an error says that the host serves the bucket, which has no policy.
fn is_served(error: &CloudError) -> bool {
    error.code == "NoSuchBucketPolicy"
}

impl QuestionFacts {
    /// One check for each question that was asked.
    pub(super) fn checks(&self) -> Vec<Check> {
        let mut checks: Vec<Check> = names_check(&self.names).into_iter().collect();
        checks.extend(self.other_account.iter().map(account_check));
        checks.extend(self.other_region.iter().map(region_check));
        checks.extend(self.signatures.iter().flat_map(SignatureAnswers::checks));
        checks.extend(self.session_dates.as_ref().map(SessionDates::check));
        checks.extend(exchange_check(&self.exchanges));
        checks.extend(self.listed_keys.as_ref().map(keys_check));
        checks
    }
}

fn account_check(asked: &OtherAccount) -> Check {
    let verdict = match asked.is_hidden() {
        Some(true) => "hidden from the account of the job",
        Some(false) => "not hidden from the account of the job",
        None if asked.is_there => "not known whether it is hidden from the account of the job",
        None => "not known, as the credentials of the grant do not see the bucket",
    };
    let (info, policy) = (shown(&asked.info), shown(&asked.policy));
    let answers = if info == policy {
        format!("GetBucketInfo and GetBucketPolicy: {info}")
    } else {
        format!("GetBucketInfo: {info}; GetBucketPolicy: {policy}")
    };
    Check::ok("bucket-of-other-account", format!("{verdict}: {answers}"))
}

fn region_check(asked: &OtherRegion) -> Check {
    let place = asked.region;
    let head = match &asked.answer {
        Ok(head) => head,
        Err(error) => {
            let seen = format!(
                "not known: the host of {place} gives no answer from here ({})",
                error.code
            );
            return Check::ok("bucket-in-other-region", seen);
        }
    };
    let named = head.named_region.as_ref();
    let named = named.map_or_else(String::new, |region| {
        format!(", which names the host of {region}")
    });
    let verdict = match &head.error {
        None => "served there too",
        Some(error) if is_served(error) => "served there too",
        Some(error) if error.kind == CloudErrorKind::WrongRegion => "taken for a wrong region",
        Some(_) => "not taken for a wrong region",
    };
    let answer = head.describe();
    Check::ok(
        "bucket-in-other-region",
        format!("GetBucketPolicy at the host of {place}: {answer}{named}; {verdict}"),
    )
}

fn exchange_check(exchanges: &[(&'static str, Answered)]) -> Option<Check> {
    let one = |(form, answer): &(&'static str, Answered)| format!("{form}: {}", shown_with_format(answer));
    let all: Vec<String> = exchanges.iter().map(one).collect();
    (!all.is_empty()).then(|| Check::ok("token-exchange-format", all.join("; ")))
}

fn keys_check(listed: &ListedKeys) -> Check {
    let name = "listed-keys";
    let found = match listed {
        ListedKeys::Compared(found) => found,
        ListedKeys::Changed => {
            return Check::ok(
                name,
                "not known: the first pages with and without encoding-type have other objects",
            );
        }
        ListedKeys::Failed(error) => {
            let seen = format!("not known: listing without encoding-type failed ({})", error.code);
            return Check::ok(name, seen);
        }
    };
    if found.special == 0 {
        return Check::ok(name, "not seen: no key on the first page has special characters");
    }
    let keys = special_keys(found);
    if found.differing == 0 {
        let seen = format!("the same with and without encoding-type: {keys}");
        return Check::ok(name, seen);
    }
    Check::warning(
        name,
        format!(
            "different with and without encoding-type: {} of {keys}",
            found.differing
        ),
        "rename these objects, or name them in source.uris, because the operator may not find them by what is listed",
    )
}

fn special_keys(found: &KeyComparison) -> String {
    let keys = counted(found.special, "key");
    format!("{keys} with special characters ({})", found.characters.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::doctor::Level;
    use crate::core::refusal::RefusedBy;

    fn head(status: u16, kind: Option<CloudErrorKind>) -> AnswerHead {
        AnswerHead {
            status,
            error: kind.map(|kind| CloudError::new(kind, "Code")),
            ec: None,
            named_region: None,
            format: AnswerFormat::Xml,
        }
    }

    #[test]
    fn a_bucket_is_hidden_only_if_it_is_there() {
        let denied = || Ok(head(403, Some(CloudErrorKind::AccessDenied)));
        let missing = || Ok(head(404, Some(CloudErrorKind::NoSuchBucket)));
        let refused = || {
            let mut head = head(403, Some(CloudErrorKind::AccessDenied));
            if let Some(error) = &mut head.error {
                error.refusal.by = Some(RefusedBy::RamPolicy);
            }
            Ok(head)
        };
        let silent = || Err(CloudError::new(CloudErrorKind::Unanswered, "Timeout"));
        for (is_there, info, policy, hidden) in [
            (true, denied(), denied(), Some(false)),
            (true, missing(), denied(), Some(true)),
            (true, denied(), missing(), Some(true)),
            (false, missing(), missing(), None),
            (true, Ok(head(200, None)), denied(), None),
            (true, denied(), silent(), None),
            // The caller's own policy refuses before OSS looks for the bucket.
            (true, refused(), refused(), None),
        ] {
            let asked = OtherAccount {
                is_there,
                info,
                policy,
            };
            assert_eq!(asked.is_hidden(), hidden, "{asked:?}");
            assert_eq!(account_check(&asked).level, Level::Ok);
        }
    }

    #[test]
    fn only_a_refusal_that_lasts_is_not_recognized() {
        let without_policy = AnswerHead {
            error: Some(CloudError::new(
                CloudErrorKind::RequestRejected,
                "NoSuchBucketPolicy",
            )),
            ..head(404, None)
        };
        let page_of_a_proxy = AnswerHead {
            format: AnswerFormat::Other,
            ..head(403, Some(CloudErrorKind::AccessDenied))
        };
        for (answer, unrecognized) in [
            (Ok(head(403, Some(CloudErrorKind::WrongRegion))), false),
            (Ok(head(403, Some(CloudErrorKind::AccessDenied))), true),
            (Ok(without_policy), false),
            (Ok(page_of_a_proxy), false),
            (Ok(head(403, Some(CloudErrorKind::CredentialsRejected))), false),
            (Ok(head(503, Some(CloudErrorKind::Unavailable))), false),
            (Ok(head(200, None)), false),
            (Err(CloudError::new(CloudErrorKind::Unanswered, "Timeout")), false),
        ] {
            let asked = OtherRegion {
                region: OtherRegion::other_than("cn-hangzhou"),
                answer,
            };
            assert_eq!(asked.unrecognized().is_some(), unrecognized, "{asked:?}");
        }
        for region in ["cn-hangzhou", "cn-beijing", "eu-central-1", "ap-southeast-1"] {
            let other = OtherRegion::other_than(region);
            assert!(other != region && other.starts_with("cn-") == region.starts_with("cn-"));
        }
    }
}
