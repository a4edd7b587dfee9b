//! The steps of the probe of unusual policies.

use super::*;
use crate::core::doctor::AnswerFormat;
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

fn probe(other_account: bool) -> FormsProbe {
    let place = FormPlace {
        bucket: "probe-2026".to_owned(),
        owner_uid: "65432".to_owned(),
        prefix: "none/".to_owned(),
    };
    FormsProbe::new(place, "12345", other_account)
}

/// Plays a probe whose writes are answered so; returns how many policies were sent.
fn play(
    probe: &mut FormsProbe,
    one: impl Fn(&str) -> Answered,
    by_other: Option<CloudErrorKind>,
    second: Option<CloudErrorKind>,
) -> usize {
    let mut sent = 0;
    for _ in 0..100 {
        let ProbeStep::Put(put) = probe.step().clone() else {
            assert_eq!(probe.step(), &ProbeStep::Finish);
            return sent;
        };
        let result = match put {
            PutStep::One(text) => {
                sent += 1;
                PutResult::One(one(&text))
            }
            PutStep::ByOther(_) => {
                sent += 1;
                PutResult::One(Ok(head(if by_other.is_some() { 403 } else { 200 }, by_other)))
            }
            PutStep::Two(_) => {
                sent += 2;
                let second = head(if second.is_some() { 409 } else { 200 }, second);
                PutResult::Two {
                    answers: Box::new([Ok(head(200, None)), Ok(second)]),
                    live: Some(0),
                }
            }
        };
        probe.take(ProbeAnswer::Put(result));
    }
    panic!("no end");
}

#[test]
fn every_question_is_asked_with_no_more_writes_than_planned() {
    let denied = Some(CloudErrorKind::AccessDenied);
    for (other_account, second, pairs) in [
        (true, None, 3),
        (false, None, 3),
        (true, Some(CloudErrorKind::BucketLocked), 1),
    ] {
        let mut probe = probe(other_account);
        let planned = probe.planned_writes();
        let sent = play(&mut probe, |_| Ok(head(200, None)), denied, second);
        let found = probe.findings();
        assert_eq!(found.answers.len(), PolicyForm::ALL.len());
        assert_eq!(found.other_account.is_some(), other_account);
        assert_eq!((found.pairs.len(), &found.stopped), (pairs, &None));
        assert_eq!(sent, planned - (PAIRS - pairs) * 2);
        assert!(found.pairs.iter().all(|pair| pair.answers[1].is_known));
    }
}

#[test]
fn a_write_of_the_other_account_that_is_accepted_ends_the_probe() {
    let mut probe = probe(true);
    let sent = play(&mut probe, |_| Ok(head(200, None)), None, None);
    let found = probe.findings();
    assert_eq!((sent, found.answers.len()), (2, 1));
    assert!(found.other_account.as_ref().unwrap().is_accepted);
}

#[test]
fn nothing_follows_without_an_answer_or_if_the_usual_form_is_refused() {
    let refused = |kind| move |_: &str| Ok(head(400, Some(kind)));
    for (kind, answers) in [
        (CloudErrorKind::PolicyRejected, 1),
        (CloudErrorKind::AccessDenied, 0),
        (CloudErrorKind::Throttled, 0),
    ] {
        let mut probe = probe(true);
        assert_eq!(play(&mut probe, refused(kind), None, None), 1);
        let found = probe.findings();
        assert!(
            found.stopped.is_some() && found.answers.len() == answers,
            "{found:?}"
        );
    }
}

#[test]
fn an_error_that_is_not_about_the_form_ends_the_probe() {
    let silent = || Err(CloudError::new(CloudErrorKind::Unanswered, "Code"));
    let refused = |kind| Ok(head(403, Some(kind)));
    for answer in [
        silent(),
        refused(CloudErrorKind::Unavailable),
        refused(CloudErrorKind::CredentialsExpired),
        refused(CloudErrorKind::CredentialsRejected),
        refused(CloudErrorKind::AccessDenied),
    ] {
        let of_sid = |text: &str| {
            if text.contains("Sid") {
                answer.clone()
            } else {
                Ok(head(200, None))
            }
        };
        let mut probe = probe(false);
        assert_eq!(play(&mut probe, of_sid, None, None), 2);
        let found = probe.findings();
        assert_eq!(found.answers.len(), 1);
        let stopped = found.stopped.as_ref().unwrap();
        assert!(stopped.contains("a statement with a Sid (Code"), "{stopped}");
    }
}

#[test]
fn a_refusal_that_oss_does_not_owe_to_the_account_is_not_known() {
    let by = |by| {
        let mut head = head(403, Some(CloudErrorKind::AccessDenied));
        head.error.as_mut().unwrap().refusal.by = by;
        head
    };
    for (answer, is_known) in [
        (by(None), true),
        (by(Some(RefusedBy::BucketPolicy)), true),
        (by(Some(RefusedBy::RamPolicy)), false),
        (by(Some(RefusedBy::SessionPolicy)), false),
        (by(Some(RefusedBy::ControlPolicy)), false),
        (head(403, Some(CloudErrorKind::CredentialsRejected)), false),
        (head(403, Some(CloudErrorKind::CredentialsExpired)), false),
        (head(400, Some(CloudErrorKind::RequestRejected)), false),
    ] {
        let mut probe = probe(true);
        for put in [head(200, None), answer] {
            probe.take(ProbeAnswer::Put(PutResult::One(Ok(put))));
        }
        let found = probe.findings();
        let account = found.other_account.as_ref().unwrap();
        assert_eq!((account.is_accepted, account.is_known), (false, is_known));
        assert_eq!(found.stopped, None, "the other questions are still asked");
    }
}

#[test]
fn an_answer_to_two_writes_that_says_nothing_is_no_refusal() {
    let both = |kind, code| {
        let mut second = head(400, Some(kind));
        second.error.as_mut().unwrap().code = String::from(code);
        [Ok(head(200, None)), Ok(second)]
    };
    for (answers, known) in [
        (both(CloudErrorKind::BucketLocked, "Code"), Some(true)),
        (both(CloudErrorKind::RequestRejected, "Code"), Some(false)),
        (both(CloudErrorKind::RequestRejected, "OSSHttp400"), None),
        (both(CloudErrorKind::Unavailable, "Code"), None),
        (both(CloudErrorKind::AccessDenied, "Code"), None),
        (both(CloudErrorKind::CredentialsExpired, "Code"), None),
    ] {
        let shown = format!("{answers:?}");
        let mut probe = probe(false);
        for _ in PolicyForm::ALL {
            probe.take(ProbeAnswer::Put(PutResult::One(Ok(head(200, None)))));
        }
        let answers = Box::new(answers);
        probe.take(ProbeAnswer::Put(PutResult::Two {
            answers,
            live: Some(0),
        }));
        let found = probe.findings();
        let pair = found.pairs.first();
        assert_eq!(pair.map(|pair| pair.answers[1].is_known), known, "{shown}");
        assert_eq!(found.stopped.is_some(), known.is_none(), "{shown}");
        assert_eq!(probe.step(), &ProbeStep::Finish, "{shown}");
    }
}
