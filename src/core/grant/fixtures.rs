//! Grants, ledgers and policies for the unit tests of `core::grant`.

use std::collections::{BTreeMap, BTreeSet};

use super::Disposition;
use super::desired::{PassRoleDecision, parse_spec};
use super::work::GrantWork;
use super::{GrantObject, Identity};
use crate::api::{EntryState, GrantSpec, LedgerEntry, StatementRole};
use crate::core::policy::Document;

/// Returns a spec with these fields beside its bucket and its grantee.
pub(crate) fn spec_with(fields: &serde_json::Value) -> GrantSpec {
    let mut spec = serde_json::json!({
        "bucket": {"name": "pics-1", "region": "cn-hangzhou", "ownerUID": "65432"},
        "grantee": {"accountUID": "12345"},
    });
    let fields = fields.as_object().unwrap().clone();
    spec.as_object_mut().unwrap().extend(fields);
    serde_json::from_value(spec).unwrap()
}

/// Returns an entry of a ledger without a text.
pub(crate) fn entry_of(fingerprint: &str, state: EntryState) -> LedgerEntry {
    LedgerEntry {
        fingerprint: fingerprint.to_owned(),
        role: StatementRole::Access,
        state,
        pre_existing: false,
        statement: String::new(),
        copies: None,
        unsettled_until: None,
        identity: None,
        other: BTreeMap::new(),
    }
}

/// Returns a grant of bucket pics-1 that may read a prefix of its own, with a ledger of its statement in this state.
pub(crate) fn work_of(name: &str, state: Option<EntryState>) -> GrantWork {
    let prefix = format!("{name}/");
    let spec = spec_with(&serde_json::json!({
        "credentials": {"source": "Secret", "secretRef": {"name": "keys"}},
        "access": {"prefixes": [prefix], "passRoleStatement": "Omit"},
    }));
    let desired = parse_spec(&spec, PassRoleDecision::Omitted).unwrap();
    let statement = desired.statements.first().unwrap();
    let mut grant = GrantObject::bare("media", name);
    grant.bucket = Some(spec.bucket.clone());
    grant.identity = Identity::of("media", &spec.credentials);
    grant.spec = Ok(spec);
    grant.status.owned.extend(state.map(|state| LedgerEntry {
        statement: statement.text.clone(),
        ..entry_of(&statement.fingerprint, state)
    }));
    let mut work = GrantWork::of(grant, BTreeSet::new(), false);
    work.input.disposition = Disposition::Enforced(desired);
    work
}

/// Returns the policy with the statements of these grants.
pub(crate) fn policy_of(batch: &[&GrantWork]) -> Document {
    let texts = batch.iter().map(|work| match &work.input.disposition {
        Disposition::Enforced(desired) => desired.statements.first().unwrap().text.clone(),
        Disposition::Carried | Disposition::Removing(_) => panic!("{} wants nothing", work.grant.key),
    });
    let text = Document::new_document(&texts.collect::<Vec<_>>()).unwrap();
    Document::parse(text.as_bytes()).unwrap()
}
