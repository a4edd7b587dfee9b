//! Single cases of the merge, one promise each.

use std::collections::BTreeSet;

use std::collections::BTreeMap;

use imm_operator::api::{EntryState, LedgerEntry};
use imm_operator::core::grant::{Change, Disposition, GrantOutcome, PlanInput, Removal, plan};
use imm_operator::core::policy::{Document, POLICY_LIMIT, PolicyParseError, fingerprint, is_plausible};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;

use super::build::*;

const FOREIGN: &str = "{\r\n  \"Statement\" : [ {\"Resource\":\"acs:oss:*:*:b\",\"Effect\":\"Deny\",\"N\":1000000000000000000,\n\"Action\":\"oss:*\",\"Principal\":[\"*\"],\"Condition\":{\"Bool\":{\"acs:SecureTransport\":[\"false\"]}}} ,\n {\"Ä\":\"ü\"}\t] , \"Version\":\"1\"}\r\n";

#[test]
fn the_default_statements_are_rendered_as_on_alibabas_page() {
    assert_eq!(
        access("1234567890123456", &[]).text,
        r#"{"Effect":"Allow","Action":["oss:GetObject","oss:GetObjectAcl","oss:ListObjects","oss:RestoreObject","oss:GetVodPlaylist","oss:ListObjectVersions","oss:GetObjectVersion","oss:GetObjectVersionAcl","oss:RestoreObjectVersion"],"Principal":["arn:sts::1234567890123456:assumed-role/AliyunIMMDefaultRole/*"],"Resource":["acs:oss:*:6543210987654321:test-bucket-2024/*"]}"#
    );
    assert_eq!(
        pass_role("1234567890123456").text,
        r#"{"Effect":"Allow","Action":["ram:PassRole"],"Principal":[],"Resource":["arn:sts::1234567890123456:assumed-role/AliyunIMMDefaultRole/*"]}"#
    );
}

#[test]
fn a_bucket_without_policy_gets_just_our_statements() {
    let mut grants = [active("a", &[pass_role("1"), access("1", &[])])];
    let text = apply_plans(None, &mut grants).unwrap();
    let expected = format!(
        r#"{{"Version":"1","Statement":[{},{}]}}"#,
        pass_role("1").text,
        access("1", &[]).text
    );
    assert_eq!(text, expected);
    assert!(
        grants[0]
            .ledger
            .iter()
            .all(|e| e.state == EntryState::Applied && !e.pre_existing)
    );
}

#[test]
fn foreign_bytes_stay_and_the_last_removal_restores_the_document() {
    for found in [
        FOREIGN,
        r#"{"Version":"1","Statement":[{"Effect":"Allow"}]}"#,
        "{\"Statement\":[\n\t{\"a\":[1,{\"b\":\"]}\\\"\"}]}\n]}",
        r#"{"Statement":["odd",{"x":1}, 7 ]}"#,
    ] {
        let mut grants = [
            active("a", &[access("1", &["p/"])]),
            active("b", &[access("2", &[])]),
        ];
        let with = apply_plans(Some(found), &mut grants).unwrap();
        let before = document(found);
        let after = document(&with);
        for (old, new) in before.statements().iter().zip(after.statements()) {
            assert_eq!(before.text_of(old), after.text_of(new));
        }
        assert_eq!(after.statements().len(), before.statements().len() + 2);
        leave(&mut grants, Removal::Delete);
        assert_eq!(apply_plans(Some(&with), &mut grants).as_deref(), Some(found));
    }
}

#[test]
fn a_document_without_statements_is_deleted() {
    let mut grants = [active("a", &[access("1", &[])])];
    let with = apply_plans(None, &mut grants).unwrap();
    leave(&mut grants, Removal::Delete);
    assert_eq!(apply_plans(Some(&with), &mut grants), None);
}

#[test]
fn documents_that_cannot_be_edited_safely_are_rejected_with_a_reason() {
    let cases: &[(&[u8], PolicyParseError)] = &[
        (b"\xff", PolicyParseError::NotUtf8),
        (
            "\u{feff}{\"Statement\":[]}".as_bytes(),
            PolicyParseError::ByteOrderMark,
        ),
        (b"[]", PolicyParseError::NotObject),
        (b"{}", PolicyParseError::NoStatement),
        (
            br#"{"Statement":[],"Statement":[]}"#,
            PolicyParseError::MultipleStatements,
        ),
        (
            br#"{"\u0053tatement":[],"Statement":[]}"#,
            PolicyParseError::MultipleStatements,
        ),
        (br#"{"Statement":{}}"#, PolicyParseError::NotArray),
    ];
    for (bytes, expected) in cases {
        assert_eq!(Document::parse(bytes).unwrap_err(), *expected);
    }
    assert!(matches!(
        Document::parse(b"{\"Statement\":[}"),
        Err(PolicyParseError::NotJson { line: 1, .. })
    ));
}

#[test]
fn meaning_is_compared_not_spelling() {
    let ours = access("1", &[]);
    let spelled = r#"{ "Resource": "acs:oss:*:6543210987654321:test-bucket-2024/*", "Principal":"arn:sts::1:assumed-role/AliyunIMMDefaultRole/*",
        "Action":["oss:RestoreObjectVersion","oss:GetObjectAcl","oss:ListObjects","oss:RestoreObject","oss:GetVodPlaylist","oss:ListObjectVersions","oss:GetObjectVersion","oss:GetObjectVersionAcl","oss:GetObject"], "Effect":"Allow"}"#;
    assert_eq!(fingerprint(spelled).as_deref(), Some(ours.fingerprint.as_str()));
    let without_principal = pass_role("1").text.replace(r#""Principal":[],"#, "");
    assert_eq!(fingerprint(&without_principal), fingerprint(&pass_role("1").text));
    let twice = ours.text.replacen('{', r#"{"Effect":"Deny","#, 1);
    assert_eq!(
        fingerprint(&twice),
        None,
        "a statement with a duplicate member is never ours"
    );
    let widened = ours.text.replace("test-bucket-2024/*", "*");
    assert_ne!(fingerprint(&widened), fingerprint(&ours.text));
}

#[test]
fn two_grants_share_a_statement_that_is_removed_with_the_last_one() {
    let shared = access("1", &[]);
    let mut grants = [
        active("a", std::slice::from_ref(&shared)),
        active("b", std::slice::from_ref(&shared)),
    ];
    let text = apply_plans(None, &mut grants).unwrap();
    assert_eq!(document(&text).statements().len(), 1);
    grants[0].disposition = Disposition::Removing(Removal::Delete);
    let seen = document(&text);
    let plan = plan(scene(Some(&seen)), &grants);
    assert_eq!(
        (plan.change, plan.grants[0].outcome.clone()),
        (Change::Keep, GrantOutcome::Released { residual: 0 })
    );
    grants[0].ledger.clear();
    leave(&mut grants, Removal::Delete);
    assert_eq!(apply_plans(Some(&text), &mut grants), None);
}

#[test]
fn a_statement_leaves_the_ledger_only_when_no_earlier_write_can_restore_it() {
    let statement = access("1", &[]);
    let grant = member(
        "a",
        Disposition::Removing(Removal::Delete),
        vec![entry(&statement, EntryState::Removing)],
    );
    let until = now() + SignedDuration::from_secs(60);
    let waiting = PlanInput {
        unsettled_until: Some(until),
        ..scene(None)
    };
    assert_eq!(
        plan(waiting, std::slice::from_ref(&grant)).grants[0].outcome,
        GrantOutcome::Propagating
    );
    let later = PlanInput {
        now: until,
        ..waiting
    };
    assert_eq!(
        plan(later, &[grant]).grants[0].outcome,
        GrantOutcome::Released { residual: 0 }
    );
}

#[test]
fn an_equal_statement_added_after_ours_was_removed_is_foreign() {
    let statement = access("1", &[]);
    let found = document(&format!(r#"{{"Version":"1","Statement":[{}]}}"#, statement.text));
    let (removed, none) = (
        BTreeMap::from([(statement.fingerprint.clone(), now())]),
        BTreeMap::new(),
    );
    let outstanding = Some(now() + SignedDuration::from_secs(60));
    let (removing, applied) = (EntryState::Removing, EntryState::Applied);
    // An unconfirmed removal may have had no effect, an outstanding write can have restored the statement, and a
    // stale read proves nothing.
    for (state, confirmed_removed, unsettled_until, absence_untrusted, change, entries) in [
        (removing, &removed, None, false, Change::Keep, 0),
        (removing, &removed, None, true, Change::Keep, 1),
        (removing, &removed, outstanding, false, Change::Delete, 1),
        (removing, &none, None, false, Change::Delete, 1),
        (applied, &removed, None, false, Change::Delete, 1),
    ] {
        let leaving = Disposition::Removing(Removal::Delete);
        let grant = member("a", leaving, vec![entry(&statement, state)]);
        let input = PlanInput {
            confirmed_removed: Some(confirmed_removed),
            unsettled_until,
            absence_untrusted,
            ..scene(Some(&found))
        };
        let planned = plan(input, &[grant]);
        let seen = (planned.change, planned.grants[0].ledger.len());
        assert_eq!(
            seen,
            (change, entries),
            "{state:?} {confirmed_removed:?} {unsettled_until:?}"
        );
    }
}

#[test]
fn an_absence_does_not_count_while_the_read_may_be_stale() {
    let statement = access("1", &[]);
    let grant = member(
        "a",
        wants(std::slice::from_ref(&statement)),
        vec![entry(&statement, EntryState::Applied)],
    );
    let lagging = PlanInput {
        absence_untrusted: true,
        ..scene(None)
    };
    let plan = plan(lagging, &[grant]);
    assert_eq!(
        (
            plan.change,
            plan.grants[0].outcome.clone(),
            plan.grants[0].missing
        ),
        (Change::Keep, GrantOutcome::Propagating, 0)
    );
}

#[test]
fn a_grant_that_does_not_fit_reports_its_size_and_the_others_are_written() {
    let (small, large) = (access("2", &["b/"]), access("1", &["a/", "c/"]));
    let filled = |bytes| format!(r#"{{"Statement":[{{"Note":"{}"}}]}}"#, "x".repeat(bytes));
    // The small one fits to the byte.
    let room = small.text.len() + 1;
    let seen = document(&filled(POLICY_LIMIT - room - filled(0).len()));
    let mut first = active("a", std::slice::from_ref(&small));
    first.created = Some(now());
    let mut second = active("b", std::slice::from_ref(&large));
    second.created = Some(now() + SignedDuration::from_secs(1));
    let plan = plan(scene(Some(&seen)), &[second, first]);
    assert!(
        matches!(&plan.change, Change::Put(text) if text.contains(&small.text) && !text.contains(&large.text))
    );
    assert!(
        matches!(plan.grants[0].outcome, GrantOutcome::TooLarge { needed, free } if needed == large.text.len() + 1 && free == room)
    );
    assert_eq!(plan.grants[1].outcome, GrantOutcome::Writing);
    assert!(plan.grants[1].changes_policy() && !plan.grants[0].changes_policy());
    assert!(plan.grants[0].ledger.is_empty());
}

#[test]
fn a_narrowed_grant_changes_in_one_write_without_a_gap() {
    let (wide, narrow) = (access("1", &["a/", "b/"]), access("1", &["a/"]));
    let mut grants = [active("a", &[wide])];
    let text = apply_plans(None, &mut grants).unwrap();
    grants[0].disposition = wants(std::slice::from_ref(&narrow));
    let seen = document(&text);
    let plan = plan(scene(Some(&seen)), &grants);
    assert_eq!((plan.added(), plan.removed()), (1, 1));
    assert!(plan.grants[0].changes_policy());
    let removing = &plan.grants[0].ledger[0];
    assert_eq!((removing.state, removing.copies), (EntryState::Removing, None));
    let Change::Put(next) = plan.change else {
        panic!("one write expected")
    };
    assert_eq!(
        next,
        format!(r#"{{"Version":"1","Statement":[{}]}}"#, narrow.text)
    );
}

#[test]
fn a_statement_to_be_replaced_stays_while_an_absence_does_not_count() {
    let (wide, narrow) = (access("1", &["a/", "b/"]), access("1", &["a/"]));
    let ledger = vec![
        entry(&wide, EntryState::Removing),
        entry(&narrow, EntryState::Intended),
    ];
    let grant = member("a", wants(std::slice::from_ref(&narrow)), ledger);
    let seen = document(&format!(r#"{{"Version":"1","Statement":[{}]}}"#, wide.text));
    let lagging = PlanInput {
        absence_untrusted: true,
        ..scene(Some(&seen))
    };
    let plan = plan(lagging, std::slice::from_ref(&grant));
    assert_eq!(
        (plan.change, plan.grants[0].outcome.clone()),
        (Change::Keep, GrantOutcome::Propagating)
    );
    assert_eq!(plan.grants[0].ledger, grant.ledger);
}

#[test]
fn a_retained_statement_stays_and_is_pre_existing_for_the_others() {
    let shared = access("1", &[]);
    let mut grants = [
        active("a", std::slice::from_ref(&shared)),
        active("b", std::slice::from_ref(&shared)),
    ];
    let text = apply_plans(None, &mut grants).unwrap();
    grants[0].disposition = Disposition::Removing(Removal::Retain);
    let seen = document(&text);
    let plan = plan(scene(Some(&seen)), &grants);
    assert_eq!(plan.change, Change::Keep);
    assert!(plan.grants[0].ledger.is_empty() && plan.grants[1].ledger[0].pre_existing);
    assert_eq!(plan.grants[0].outcome, GrantOutcome::Released { residual: 1 });
    assert_eq!((plan.added(), plan.grants[0].changes_policy()), (0, false));
}

#[test]
fn a_frozen_grant_keeps_what_it_owns() {
    let statement = access("1", &[]);
    let frozen = member(
        "f",
        Disposition::Carried,
        vec![entry(&statement, EntryState::Applied)],
    );
    let leaving = member(
        "l",
        Disposition::Removing(Removal::Delete),
        vec![entry(&statement, EntryState::Applied)],
    );
    let text = format!(r#"{{"Version":"1","Statement":[{}]}}"#, statement.text);
    let seen = document(&text);
    let plan = plan(scene(Some(&seen)), &[frozen.clone(), leaving]);
    assert_eq!(
        (plan.change, &plan.grants[0].ledger),
        (Change::Keep, &frozen.ledger)
    );
    assert_eq!(plan.grants[1].outcome, GrantOutcome::Released { residual: 0 });
}

#[test]
fn a_statement_that_a_grant_with_other_credentials_claims_is_left_and_reported() {
    let statement = access("1", &[]);
    let leaving = member(
        "l",
        Disposition::Removing(Removal::Delete),
        vec![entry(&statement, EntryState::Applied)],
    );
    let seen = document(&format!(r#"{{"Version":"1","Statement":[{}]}}"#, statement.text));
    let claimed = BTreeSet::from([statement.fingerprint.clone()]);
    let input = PlanInput {
        placed_by_others: Some(&claimed),
        ..scene(Some(&seen))
    };
    let plan = plan(input, &[leaving]);
    assert_eq!(plan.change, Change::Keep);
    assert_eq!(plan.grants[0].outcome, GrantOutcome::Released { residual: 1 });
}

#[test]
fn a_forged_ledger_entry_is_recognised() {
    let ours = access("1", &["a/"]);
    assert!(is_plausible("test-bucket-2024", &ours.text, &ours.fingerprint));
    let role = pass_role("1");
    assert!(is_plausible("test-bucket-2024", &role.text, &role.fingerprint));
    assert!(!is_plausible("another-bucket", &ours.text, &ours.fingerprint));
    assert!(!is_plausible("test-bucket-2024", &ours.text, "sha256:00"));
    for forged in [
        r#"{"Effect":"Deny","Action":["oss:GetObject"],"Principal":["arn:sts::1:assumed-role/R/*"],"Resource":["acs:oss:*:1:test-bucket-2024/*"]}"#,
        r#"{"Effect":"Allow","Action":["oss:PutObject"],"Principal":["arn:sts::1:assumed-role/R/*"],"Resource":["acs:oss:*:1:test-bucket-2024/*"]}"#,
        r#"{"Effect":"Allow","Action":["oss:GetObject"],"Principal":["*"],"Resource":["acs:oss:*:1:test-bucket-2024/*"]}"#,
        r#"{"Effect":"Allow","Action":["oss:GetObject"],"Principal":["arn:sts::1:assumed-role/R/*"],"Resource":["acs:oss:*:1:test-bucket-2024x/*"]}"#,
        r#"{"Effect":"Allow","Action":["oss:GetObject"],"Principal":["arn:sts::1:assumed-role/R/*"],"Resource":["acs:oss:*:1:test-bucket-2024/*"],"Condition":{}}"#,
    ] {
        let claimed = fingerprint(forged).unwrap();
        assert!(!is_plausible("test-bucket-2024", forged, &claimed), "{forged}");
    }
}

#[test]
fn an_entry_keeps_its_identity_and_an_outstanding_write_until_it_expires() {
    let statement = access("1", &[]);
    let seen = document(&format!(r#"{{"Version":"1","Statement":[{}]}}"#, statement.text));
    let after = |seconds| Time(now() + SignedDuration::from_secs(seconds));
    for (until, kept) in [(after(-1), false), (after(0), false), (after(1), true)] {
        let stored = LedgerEntry {
            unsettled_until: Some(until.clone()),
            identity: Some("identity".to_owned()),
            ..entry(&statement, EntryState::Applied)
        };
        let grant = member("a", wants(std::slice::from_ref(&statement)), vec![stored]);
        let planned = plan(scene(Some(&seen)), &[grant]).grants.remove(0);
        let found = &planned.ledger[0];
        assert_eq!(found.unsettled_until, Some(until).filter(|_| kept));
        assert_eq!(found.identity.as_deref(), Some("identity"));
    }
}
