//! A bucket with far more grants than its policy has room for. One round of planning for each of them would take minutes.

use imm_operator::api::{AdoptionPolicy, EntryState, LEDGER_LIMIT};
use imm_operator::core::grant::{Change, Disposition, GrantInput, GrantOutcome, plan};
use imm_operator::core::policy::{Document, POLICY_LIMIT, STATEMENT_LIMIT, Statement};
use k8s_openapi::jiff::SignedDuration;

use super::build::*;

/// A thousand grants, the oldest first, that want what `statements` gives each.
fn crowd(statements: impl Fn(i64) -> Vec<Statement>) -> Vec<GrantInput> {
    let grant = |n| {
        let mut grant = active(&format!("grant-{n:04}"), &statements(n));
        grant.created = Some(now() + SignedDuration::from_secs(n));
        grant
    };
    (0..1_000).map(grant).collect()
}

/// An access statement of almost `bytes` bytes.
fn sized(account: i64, bytes: usize) -> Statement {
    let prefixes: Vec<String> = (0..bytes / 300).map(|n| format!("{n:0>245}/")).collect();
    access(
        &format!("{account:016}"),
        &prefixes.iter().map(String::as_str).collect::<Vec<_>>(),
    )
}

/// The oldest that fit are written, and each of the others is told so.
#[test]
fn of_a_thousand_grants_the_oldest_are_written_that_fit() {
    let crowd = crowd(|n| vec![access(&format!("{n:016}"), &[&format!("folder-{n}/")])]);
    let plan = plan(scene(None), &crowd);
    let Change::Put(text) = &plan.change else {
        panic!("one write expected")
    };
    let written = plan
        .outcomes
        .iter()
        .filter(|v| **v == GrantOutcome::Writing)
        .count();
    let one = text.len() / written;
    assert!(
        text.len() <= POLICY_LIMIT && text.len() + one + one / 2 > POLICY_LIMIT,
        "{}",
        text.len()
    );
    for (n, verdict) in plan.outcomes.iter().enumerate() {
        let told = matches!(verdict, GrantOutcome::TooLarge { .. });
        assert!(told != (n < written), "{n} of {written}: {verdict:?}");
    }
}

/// Each for a reason of its own, and one in the middle that can be served. They all own something, which each round looks at.
#[test]
fn of_a_thousand_grants_that_cannot_be_written_each_is_told_why_and_the_one_that_can_is_written() {
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
    for (n, verdict) in plan.outcomes.iter().enumerate() {
        assert_eq!(*verdict, expected(n), "{n}");
    }
    let Change::Put(text) = plan.change else {
        panic!("one write expected")
    };
    assert_eq!(document(&text).statements().len(), 2);
}

/// Two statements of which one fits, wanted by half of the grants each: a shared one makes room only with the last of them.
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
    // Going by age alone, who is younger than the oldest that must go goes as well.
    assert_eq!(plan.outcomes[0], GrantOutcome::Writing);
    for verdict in &plan.outcomes[1..] {
        assert_eq!(*verdict, GrantOutcome::TooLarge { needed, free });
    }
    assert!(
        matches!(&plan.change, Change::Put(text) if text.contains(&first.text) && !text.contains(&second.text))
    );
}
