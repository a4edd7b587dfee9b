//! A bucket with far more grants than its policy has space for. Planning once for each grant would take minutes.

use imm_operator::api::{AdoptionPolicy, EntryState, LEDGER_LIMIT};
use imm_operator::core::grant::{Change, Disposition, GrantInput, GrantOutcome, Removal, plan};
use imm_operator::core::policy::{Document, POLICY_LIMIT, STATEMENT_LIMIT, Statement};
use k8s_openapi::jiff::SignedDuration;

use super::build::*;

/// Returns a thousand grants, the oldest first, with the statements that `statements` returns for each.
fn crowd(statements: impl Fn(i64) -> Vec<Statement>) -> Vec<GrantInput> {
    let grant = |n| {
        let mut grant = active(&format!("grant-{n:04}"), &statements(n));
        grant.created = Some(now() + SignedDuration::from_secs(n));
        grant
    };
    (0..1_000).map(grant).collect()
}

/// Returns an access statement of almost `bytes` bytes.
fn sized(account: i64, bytes: usize) -> Statement {
    let prefixes: Vec<String> = (0..bytes / 300).map(|n| format!("{n:0>245}/")).collect();
    access(
        &format!("{account:016}"),
        &prefixes.iter().map(String::as_str).collect::<Vec<_>>(),
    )
}

/// The oldest grants that fit are written, and each of the others is reported as too large.
#[test]
fn of_a_thousand_grants_the_oldest_that_fit_are_written() {
    let crowd = crowd(|n| vec![access(&format!("{n:016}"), &[&format!("folder-{n}/")])]);
    let plan = plan(scene(None), &crowd);
    let Change::Put(text) = &plan.change else {
        panic!("one write expected")
    };
    let written = plan
        .grants
        .iter()
        .filter(|grant| grant.outcome == GrantOutcome::Writing)
        .count();
    let one = text.len() / written;
    assert!(
        text.len() <= POLICY_LIMIT && text.len() + one + one / 2 > POLICY_LIMIT,
        "{}",
        text.len()
    );
    for (n, verdict) in plan.grants.iter().map(|grant| &grant.outcome).enumerate() {
        let too_large = matches!(verdict, GrantOutcome::TooLarge { .. });
        assert!(too_large != (n < written), "{n} of {written}: {verdict:?}");
    }
}

/// Each grant fails for a reason of its own, except one in the middle. All of them own a statement, so planning reads
/// each.
#[test]
fn each_of_a_thousand_blocked_grants_gets_its_reason_and_the_valid_one_is_written() {
    let foreign = sized(7, 1_000);
    let long = sized(8, 6_000);
    let small = access("9", &[]);
    let mut crowd = crowd(|n| match n {
        500 => vec![small.clone()],
        n if n % 3 == 0 => vec![foreign.clone()],
        n if n % 3 == 1 => vec![access(&format!("{n:016}"), &[])],
        _ => vec![long.clone()],
    });
    for (n, grant) in crowd.iter_mut().enumerate() {
        let owned = if n % 3 == 1 && n != 500 { LEDGER_LIMIT } else { 2 };
        let held = (0..owned).map(|m| access(&format!("{n:013}{m:03}"), &["old/"]));
        grant.ledger = held.map(|s| entry(&s, EntryState::Removing)).collect();
        if let Disposition::Enforced(wanted) = &mut grant.disposition {
            wanted.adoption = AdoptionPolicy::Fail;
        }
    }
    let seen = document(&Document::new_document(std::slice::from_ref(&foreign.text)).unwrap());
    let plan = plan(scene(Some(&seen)), &crowd);
    let expected = |n: usize| match n {
        500 => GrantOutcome::Writing,
        n if n % 3 == 0 => GrantOutcome::ExistingStatement,
        n if n % 3 == 1 => GrantOutcome::LedgerFull,
        _ => GrantOutcome::StatementTooLong {
            bytes: long.text.len(),
        },
    };
    assert!(long.text.len() > STATEMENT_LIMIT);
    for (n, verdict) in plan.grants.iter().map(|grant| &grant.outcome).enumerate() {
        assert_eq!(*verdict, expected(n), "{n}");
    }
    let Change::Put(text) = plan.change else {
        panic!("one write expected")
    };
    assert_eq!(document(&text).statements().len(), 2);
}

/// Two statements of which one fits, each wanted by half of the grants: a shared statement leaves only with its last
/// grant.
#[test]
fn of_two_statements_wanted_by_five_hundred_grants_each_the_one_of_the_oldest_is_written() {
    let filler = format!(r#"{{"Statement":["{}"]}}"#, "x".repeat(POLICY_LIMIT - 5_500));
    let seen = document(&filler);
    let (first, second) = (sized(1, 3_500), sized(2, 3_500));
    let crowd = crowd(|n| vec![if n % 2 == 0 { first.clone() } else { second.clone() }]);
    let plan = plan(scene(Some(&seen)), &crowd);
    let needed = second.text.len() + 1;
    let free = POLICY_LIMIT - filler.len();
    assert!(needed < free && free < 2 * needed);
    // Grants are rejected by age alone: every grant younger than the oldest rejected one is rejected too.
    assert_eq!(plan.grants[0].outcome, GrantOutcome::Writing);
    for verdict in plan.grants[1..].iter().map(|grant| &grant.outcome) {
        assert_eq!(*verdict, GrantOutcome::TooLarge { needed, free });
    }
    assert!(
        matches!(&plan.change, Change::Put(text) if text.contains(&first.text) && !text.contains(&second.text))
    );
}

/// A grant that does not fit no longer keeps a statement that another one releases: that makes room for a third.
#[test]
fn what_a_grant_that_does_not_fit_kept_makes_room_for_the_others() {
    let (released, first, second) = (sized(1, 1_500), sized(2, 3_000), sized(3, 3_000));
    let filled = |bytes: usize| format!(r#"{{"Statement":["{}",{}]}}"#, "x".repeat(bytes), released.text);
    // Both new statements fit once the released one is gone.
    let needed = first.text.len() + second.text.len() + 2;
    let seen = document(&filled(POLICY_LIMIT - filled(0).len() - needed + 100));
    let owned = vec![entry(&released, EntryState::Applied)];
    let mut grants = [
        member("leaving", Disposition::Removing(Removal::Delete), owned),
        active("oldest", std::slice::from_ref(&first)),
        active("older", std::slice::from_ref(&second)),
        active("young", &[released.clone(), second.clone()]),
    ];
    for (n, grant) in (0..).zip(&mut grants) {
        grant.created = Some(now() + SignedDuration::from_secs(n));
    }
    let plan = plan(scene(Some(&seen)), &grants);
    for (grant, written) in plan.grants.iter().zip([true, true, true, false]) {
        assert_eq!(
            grant.outcome == GrantOutcome::Writing,
            written,
            "{:?}",
            grant.outcome
        );
    }
}

/// A grant that does not fit no longer removes what it has written and does not want: that takes room from an older
/// one, and a third one fits instead.
#[test]
fn what_a_grant_that_does_not_fit_does_not_remove_is_counted_before_others_are_refused() {
    let (kept, large, small, new) = (sized(1, 3_000), sized(2, 3_600), sized(3, 3_000), sized(4, 1_500));
    let filled = |bytes: usize| format!(r#"{{"Statement":["{}",{}]}}"#, "x".repeat(bytes), kept.text);
    // Beside the kept statement, the small one fits and the large one does not.
    let room = small.text.len() + 1;
    let seen = document(&filled(POLICY_LIMIT - filled(0).len() - room));
    for state in [EntryState::Applied, EntryState::Intended] {
        let mut grants = [
            active("oldest", std::slice::from_ref(&large)),
            active("older", std::slice::from_ref(&small)),
            member(
                "young",
                wants(&[small.clone(), new.clone()]),
                vec![entry(&kept, state)],
            ),
        ];
        for (n, grant) in (0..).zip(&mut grants) {
            grant.created = Some(now() + SignedDuration::from_secs(n));
        }
        let plan = plan(scene(Some(&seen)), &grants);
        let written: Vec<bool> = plan
            .grants
            .iter()
            .map(|grant| grant.outcome == GrantOutcome::Writing)
            .collect();
        assert_eq!(written, [false, true, false], "{state:?}");
    }
}
