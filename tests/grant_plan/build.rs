//! Builders for grants and policies in tests.

use imm_operator::api::{AdoptionPolicy, EntryState, Grantee, LedgerEntry, OssAction, PrincipalForm};
use imm_operator::core::grant::{
    Desired, Disposition, GrantInput, ObjectKey, OnDrift, Plan, PlanInput, Removal, plan,
};
use imm_operator::core::policy::{Document, Statement, access_statement, pass_role_statement};
use k8s_openapi::jiff::Timestamp;

pub const NOW: i64 = 1_790_000_000;

pub fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

pub fn grantee(account: &str) -> Grantee {
    Grantee {
        account_uid: account.to_owned(),
        role_name: "AliyunIMMDefaultRole".to_owned(),
        principal: PrincipalForm::ServiceRole,
        session_name: None,
    }
}

pub fn access(account: &str, prefixes: &[&str]) -> Statement {
    let prefixes: Vec<String> = prefixes.iter().map(|p| (*p).to_owned()).collect();
    access_statement(
        "test-bucket-2024",
        "6543210987654321",
        &grantee(account),
        OssAction::DOCUMENTED,
        &prefixes,
    )
}

pub fn pass_role(account: &str) -> Statement {
    pass_role_statement(&grantee(account))
}

pub fn member(name: &str, disposition: Disposition, ledger: Vec<LedgerEntry>) -> GrantInput {
    let key = ObjectKey {
        namespace: "media".to_owned(),
        name: name.to_owned(),
    };
    GrantInput {
        key,
        created: None,
        disposition,
        ledger,
        unverified: 0,
        unproven: std::collections::BTreeSet::new(),
    }
}

pub fn wants(statements: &[Statement]) -> Disposition {
    Disposition::Enforced(Desired {
        statements: statements.to_vec(),
        adoption: AdoptionPolicy::Adopt,
        on_drift: OnDrift::Restore,
    })
}

pub fn active(name: &str, statements: &[Statement]) -> GrantInput {
    member(name, wants(statements), Vec::new())
}

pub fn entry(statement: &Statement, state: EntryState) -> LedgerEntry {
    LedgerEntry {
        fingerprint: statement.fingerprint.clone(),
        role: statement.role,
        state,
        pre_existing: false,
        statement: statement.text.clone(),
        copies: None,
        unsettled_until: None,
        identity: None,
        other: std::collections::BTreeMap::new(),
    }
}

pub fn document(text: &str) -> Document {
    Document::parse(text.as_bytes()).unwrap()
}

pub fn scene(document: Option<&Document>) -> PlanInput<'_> {
    PlanInput {
        document,
        now: now(),
        ..PlanInput::default()
    }
}

/// Applies plans as reconciles do, with ledgers, document and a check afterwards. Returns the final document.
pub fn apply_plans(found: Option<&str>, members: &mut [GrantInput]) -> Option<String> {
    let mut text = found.map(ToOwned::to_owned);
    for _ in 0..3 {
        let seen = text.as_deref().map(document);
        let plan = plan(scene(seen.as_ref()), members);
        store_ledgers(members, &plan);
        match plan.change {
            imm_operator::core::grant::Change::Keep => return text,
            imm_operator::core::grant::Change::Put(new) => text = Some(new),
            imm_operator::core::grant::Change::Delete => text = None,
        }
    }
    panic!("the plan does not converge");
}

/// Stores the plan's ledgers as after an answered write: no entry has an unsettled write.
fn store_ledgers(members: &mut [GrantInput], plan: &Plan) {
    for (member, planned) in members.iter_mut().zip(&plan.grants) {
        member.ledger.clone_from(&planned.ledger);
        member.ledger.iter_mut().for_each(|e| e.unsettled_until = None);
    }
}

pub fn leave(members: &mut [GrantInput], how: Removal) {
    for member in members {
        member.disposition = Disposition::Removing(how);
    }
}
