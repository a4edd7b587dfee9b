//! Tests of what a process knows about its writes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::*;
use crate::api::{GrantSpec, GrantStatus, StatementRole};
use crate::core::grant::{Change, GrantOutcome, GrantPlan, ObjectKey, OnlyStored};

const START: Timestamp = Timestamp::constant(1_790_000_000, 0);

fn entry() -> LedgerEntry {
    LedgerEntry {
        fingerprint: "sha256:1".to_owned(),
        role: StatementRole::Access,
        state: EntryState::Intended,
        pre_existing: false,
        statement: "{}".to_owned(),
        copies: None,
        unsettled_until: Some(Time(START + WRITE_LIFE)),
        identity: None,
        other: BTreeMap::new(),
    }
}

/// A grant whose ledger records an intended write.
fn grant(suspend: bool, deleting: bool) -> GrantObject {
    let spec: GrantSpec = serde_json::from_value(json!({
        "bucket": {"name": "pics-1", "region": "cn-hangzhou", "ownerUID": "65432"},
        "grantee": {"accountUID": "12345"},
        "credentials": {"source": "Operator"},
        "suspend": suspend,
    }))
    .unwrap();
    GrantObject {
        key: ObjectKey {
            namespace: "media".to_owned(),
            name: "one".to_owned(),
        },
        uid: "uid".to_owned(),
        resource_version: "1".to_owned(),
        generation: 1,
        created: None,
        deleting,
        finalizers: Vec::new(),
        reconcile_at: None,
        abandon: false,
        retain: false,
        bucket: Some(spec.bucket.clone()),
        identity: None,
        spec: Ok(spec),
        status: GrantStatus {
            owned: vec![entry()],
            ..GrantStatus::default()
        },
        only_stored: OnlyStored::default(),
    }
}

/// Whether the write counts as taken effect, if the live statement equals it, after it has expired.
fn counts(writes: &WriteHistory, grant: &GrantObject) -> bool {
    let later = START + WRITE_LIFE + SignedDuration::from_secs(1);
    writes.unproven_intents(grant, later).is_empty()
}

/// A process that has looked at the bucket before the grant recorded its write.
fn running() -> WriteHistory {
    let mut writes = WriteHistory::default();
    writes.read_ledgers(&[], START);
    writes
}

#[test]
fn a_write_that_was_sent_counts_after_its_life_whatever_happens_to_its_grant() {
    let mut writes = running();
    assert!(!counts(&writes, &grant(false, false)), "it was never sent");
    writes.write_sent("uid", [entry()].iter(), START);
    for (suspend, deleting) in [(false, false), (true, false), (true, true), (false, true)] {
        let grant = grant(suspend, deleting);
        writes.read_ledgers(std::slice::from_ref(&grant), START);
        assert!(counts(&writes, &grant), "suspended {suspend}, deleted {deleting}");
    }
    writes.read_ledgers(&[], START);
    assert!(counts(&writes, &grant(false, false)), "the list can be stale");
    writes.read_ledgers(&[], START + STALE_LIST);
    assert!(
        !counts(&writes, &grant(false, false)),
        "the ledger has lost the entry"
    );
}

#[test]
fn a_grant_that_is_edited_all_the_time_leaves_a_bounded_number_of_sent_writes() {
    let mut writes = running();
    for second in 0..1000 {
        let entry = LedgerEntry {
            fingerprint: second.to_string(),
            ..entry()
        };
        let now = START + SignedDuration::from_secs(second);
        writes.write_sent("uid", [entry].iter(), now);
        writes.read_ledgers(&[], now);
    }
    assert_eq!(writes.sent_intents.len(), MAX_UNSEEN);
    let newest = ("uid".to_owned(), "999".to_owned());
    assert!(writes.sent_intents.contains_key(&newest));
}

#[test]
fn an_answered_write_of_an_earlier_process_makes_absence_untrusted_for_30_s() {
    let written = |at: Timestamp| {
        let mut grant = grant(false, true);
        grant.status.owned.clear();
        let policy = serde_json::json!({"bytes": 2, "limitBytes": 16384, "statements": 0,
            "foreignStatements": 0, "lastWriteTime": Time(at)});
        grant.status.policy = Some(serde_json::from_value(policy).unwrap());
        grant
    };
    let untrusted = |at: Timestamp, seconds: i64| {
        let mut writes = WriteHistory::default();
        writes.read_ledgers(&[written(at)], START);
        let now = START + SignedDuration::from_secs(seconds);
        writes.read_ledgers(&[written(at)], now);
        writes.absence_untrusted(&None, now)
    };
    assert!(untrusted(START, 29));
    assert!(!untrusted(START, 30));
    assert!(!untrusted(START - LAG, 0));
    let future = START + SignedDuration::from_hours(24);
    assert!(untrusted(future, 29));
    assert!(
        !untrusted(future, 30),
        "a time in the future counts as the first look"
    );
}

#[test]
fn a_removal_is_final_only_if_no_earlier_write_can_bring_the_statement_back() {
    let removing = LedgerEntry {
        state: EntryState::Removing,
        ..entry()
    };
    let plan = Plan {
        change: Change::Delete,
        grants: vec![GrantPlan {
            ledger: vec![removing],
            outcome: GrantOutcome::Writing,
            added: 0,
            removed: 1,
            missing: 0,
        }],
    };
    let mut writes = running();
    writes.unanswered(&plan, START);
    writes.confirmed(&plan, START + SignedDuration::from_secs(30));
    assert!(writes.confirmed_removed.is_empty());
    writes.confirmed(&plan, START + WRITE_LIFE);
    assert_eq!(writes.confirmed_removed.len(), 1);

    let mut addition = plan;
    addition.grants[0].ledger = vec![entry()];
    writes.unanswered(&addition, START + WRITE_LIFE);
    assert!(
        writes.confirmed_removed.is_empty(),
        "it can bring the statement back"
    );
}

#[test]
fn a_removal_is_remembered_while_a_ledger_has_its_entry_or_a_list_may_be_stale() {
    let mut writes = running();
    writes.confirmed_removed = BTreeMap::from([("sha256:1".to_owned(), START)]);
    let later = START + STALE_LIST;
    writes.read_ledgers(&[grant(false, true)], later);
    assert_eq!(writes.confirmed_removed.len(), 1);
    writes.read_ledgers(&[], later - SignedDuration::from_secs(1));
    assert_eq!(writes.confirmed_removed.len(), 1);
    writes.read_ledgers(&[], later);
    assert!(writes.confirmed_removed.is_empty());
}

#[test]
fn a_status_cannot_pretend_that_writes_of_an_earlier_process_are_outstanding_again_and_again() {
    let outstanding = |writes: &mut WriteHistory, seconds: i64, written_at: i64| {
        let now = START + SignedDuration::from_secs(seconds);
        let mut forged = grant(false, false);
        forged.status.owned[0].unsettled_until =
            Some(Time(START + SignedDuration::from_secs(written_at) + WRITE_LIFE));
        writes.read_ledgers(&[forged], now);
        writes.unsettled().is_some()
    };
    for ahead in [0, 100_000] {
        let mut writes = WriteHistory::default();
        assert!(outstanding(&mut writes, 0, ahead));
        assert!(outstanding(&mut writes, WRITE_LIFE_SECONDS - 1, 300 + ahead));
        assert!(!outstanding(&mut writes, WRITE_LIFE_SECONDS, 300 + ahead));
    }
}

#[test]
fn an_expiry_of_an_earlier_process_counts_after_a_clock_that_was_behind_is_corrected() {
    let mut writes = WriteHistory::default();
    let behind = START - SignedDuration::from_hours(1);
    writes.read_ledgers(&[grant(false, true)], behind);
    writes.read_ledgers(&[grant(false, true)], START);
    assert_eq!(writes.unsettled(), Some(START + WRITE_LIFE));
}

#[test]
fn forged_expiries_that_become_plausible_in_turns_block_a_bucket_once() {
    let mut forged = grant(false, true);
    forged.status.owned = (1..12)
        .map(|turn| LedgerEntry {
            unsettled_until: Some(Time(START + turn * WRITE_LIFE)),
            ..entry()
        })
        .collect();
    let mut writes = WriteHistory::default();
    let outstanding = (0..12 * WRITE_LIFE_SECONDS / 10).filter(|tens| {
        let now = START + SignedDuration::from_secs(tens * 10);
        writes.read_ledgers(std::slice::from_ref(&forged), now);
        writes.unsettled().is_some()
    });
    assert!(outstanding.count() <= 3 * usize::try_from(WRITE_LIFE_SECONDS / 10).unwrap());
}

#[test]
fn a_write_whose_reconcile_did_not_end_is_outstanding() {
    let mut writes = running();
    writes.attempted(&None, &None, START);
    writes.read_ledgers(&[], START);
    assert_eq!(writes.unsettled(), Some(START + WRITE_LIFE));

    let mut writes = running();
    writes.attempted(&None, &None, START);
    writes.rejected();
    writes.read_ledgers(&[], START);
    assert_eq!(writes.unsettled(), None);
}

#[test]
fn an_answered_write_whose_status_was_not_stored_is_not_outstanding() {
    let mut writes = WriteHistory::default();
    writes.read_ledgers(&[], START);
    let sent = START + SignedDuration::from_secs(20);
    writes.attempted(&None, &Some(b"policy".to_vec()), sent);
    let plan = Plan {
        change: Change::Keep,
        grants: Vec::new(),
    };
    writes.confirmed(&plan, sent);
    // The ledger from before the write, of a grant that a user deletes.
    let mut deleted = grant(false, true);
    deleted.status.owned[0].unsettled_until = Some(Time(sent + WRITE_LIFE));
    writes.read_ledgers(&[deleted], sent);
    assert_eq!(writes.unsettled(), None);
}

#[test]
fn a_rejected_write_does_not_count() {
    let mut writes = running();
    writes.write_rejected("uid", &[entry()], &[], START);
    assert!(!counts(&writes, &grant(false, true)));
}

#[test]
fn a_write_of_an_earlier_process_counts_for_a_suspended_grant_only_at_its_deletion() {
    let mut writes = WriteHistory::default();
    writes.read_ledgers(&[grant(false, false)], START);
    assert!(counts(&writes, &grant(false, false)));
    for suspended_at_start in [true, false] {
        if suspended_at_start {
            writes = WriteHistory::default();
        }
        writes.read_ledgers(&[grant(true, false)], START);
        assert!(!counts(&writes, &grant(true, false)));
        writes.read_ledgers(&[grant(false, false)], START);
        assert!(
            !counts(&writes, &grant(false, false)),
            "suspending keeps it for ever"
        );
        assert!(counts(&writes, &grant(false, true)));
        writes = WriteHistory::default();
        writes.read_ledgers(&[grant(false, false)], START);
    }
}

#[test]
fn a_rejection_is_known_at_once_and_until_the_entry_is_written_again() {
    let unproven = |writes: &WriteHistory| !writes.unproven_intents(&grant(false, false), START).is_empty();
    let mut writes = running();
    assert!(!unproven(&writes), "a write of this moment may take effect");
    writes.write_rejected("uid", &[entry()], &[entry()], START);
    assert!(!unproven(&writes), "the earlier write may take effect");
    writes.write_rejected("uid", &[entry()], &[], START);
    assert!(unproven(&writes));
    let plan = |added| Plan {
        change: Change::Keep,
        grants: vec![GrantPlan {
            ledger: vec![entry()],
            outcome: GrantOutcome::Writing,
            added,
            removed: 0,
            missing: 0,
        }],
    };
    writes.forget_rejections(["uid"].into_iter(), &plan(0));
    assert!(unproven(&writes), "the write adds nothing of the grant");
    writes.forget_rejections(["uid"].into_iter(), &plan(1));
    assert!(!unproven(&writes));
}

#[test]
fn a_read_from_before_a_recent_write_is_stale_for_30_s() {
    let text = |text: &str| Some(text.as_bytes().to_vec());
    let after = |seconds: i64| START + SignedDuration::from_secs(seconds);
    let mut writes = running();
    assert!(!writes.has_recent(START));
    writes.attempted(&text("old"), &text("new"), START);
    assert!(writes.is_stale_read(&text("old"), after(29)));
    assert!(!writes.is_stale_read(&text("new"), after(29)));
    assert!(!writes.is_stale_read(&text("other"), after(29)));
    assert!(!writes.is_stale_read(&text("old"), after(30)));
    assert!(writes.absence_untrusted(&text("other"), after(29)));
    assert!(!writes.absence_untrusted(&text("other"), after(30)));
    assert!(writes.has_recent(after(29)) && !writes.has_recent(after(30)));
    writes.attempted(&text("new"), &text("newer"), after(1));
    assert!(
        writes.is_stale_read(&text("old"), after(2)),
        "from before both writes"
    );
    writes.attempted(&text("newer"), &text("old"), after(2));
    assert!(!writes.is_stale_read(&text("old"), after(29)), "it was undone");
}

#[test]
fn a_clock_that_was_set_back_keeps_nothing_alive() {
    let text = |text: &str| Some(text.as_bytes().to_vec());
    let mut writes = running();
    let back = START - SignedDuration::from_hours(10);
    writes.attempted(&text("old"), &text("new"), START);
    writes.read_ledgers(&[], back);
    assert!(writes.unsettled() <= Some(back + WRITE_LIFE));
    let later = back + LAG;
    assert!(!writes.is_stale_read(&text("old"), later));
    assert!(!writes.has_recent(later));
    writes.read_ledgers(&[], back + WRITE_LIFE);
    assert_eq!(writes.unsettled(), None);
}

#[test]
fn a_policy_that_was_read_ahead_is_fresh_for_seconds_and_until_the_next_write() {
    let mut writes = WriteHistory::default();
    let after = |seconds| START + SignedDuration::from_secs(seconds);
    assert!(writes.is_fresh_read(START, after(1)));
    assert!(!writes.is_fresh_read(START, after(2)));
    writes.attempted(&None, &Some(b"{}".to_vec()), START);
    assert!(!writes.is_fresh_read(START, after(1)));
    assert!(writes.is_fresh_read(after(1), after(2)));
}
