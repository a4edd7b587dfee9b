//! Every rule of the schemas is broken once, and the API server answers with its message at its field.

use std::collections::BTreeSet;
use std::sync::Arc;

use imm_harness::environment::checkout;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::broken_rules::{ABOUT_THE_VALUE, ROLE, cases, service_account};
use crate::support::tenant::{GRANT, JOB, merge};
use crate::support::{ACCOUNT_A, Stage, Tenant};

/// A rule of a schema: its kind, the pointer to the member that has it, and the field that its answer names.
struct Rule {
    kind: String,
    pointer: String,
    field: String,
    message: String,
    is_for_updates: bool,
}

fn collect(kind: &str, schema: &Value, pointer: &str, field: &str, found: &mut Vec<Rule>) {
    for rule in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        found.push(Rule {
            kind: kind.to_owned(),
            pointer: pointer.to_owned(),
            field: format!("{field}{}", rule["fieldPath"].as_str().unwrap_or_default()),
            message: rule["message"].as_str().unwrap().to_owned(),
            is_for_updates: rule["rule"].as_str().unwrap().contains("oldSelf"),
        });
    }
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        let inner = format!("{field}.{name}").trim_start_matches('.').to_owned();
        collect(kind, member, &format!("{pointer}/{name}"), &inner, found);
    }
    if !schema["items"].is_null() {
        collect(
            kind,
            &schema["items"],
            &format!("{pointer}/0"),
            &format!("{field}[0]"),
            found,
        );
    }
}

/// Returns the rules of all CRDs in `crds/`; each `x-kubernetes-validations` of a file is found.
fn rules() -> Vec<Rule> {
    let (mut found, mut written) = (Vec::new(), 0);
    for file in std::fs::read_dir(checkout().join("crds")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let crd: Value = serde_saphyr::from_str(&text).unwrap();
        for version in crd["spec"]["versions"].as_array().unwrap() {
            let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
            collect(kind, &version["schema"]["openAPIV3Schema"], "", "", &mut found);
        }
        written += text.matches("rule: ").count();
    }
    assert_eq!(
        found.len(),
        written,
        "a rule is in a part of a schema that is not read"
    );
    found
}

/// Returns accepted objects; each member that has a rule is in one of them, and the first of each kind can be stored.
fn accepted(tenant: &Tenant) -> Vec<Value> {
    let assumed = json!({"assumeRole": {"roleARN": ROLE}});
    let secret = json!({"source": "Secret", "secretRef": {"name": "owner"}, "assumeRole": {"roleARN": ROLE}});
    let session = json!({"accountUID": ACCOUNT_A, "roleName": "r", "principal": "ServiceRoleSession", "sessionName": "s1"});
    let grant = |credentials: Value| {
        tenant.grant(
            "base",
            &json!({"credentials": credentials, "grantee": session, "suspend": true,
            "access": {"prefixes": ["a/"]}, "allowedConsumers": {"namespaces": ["team"]}}),
        )
    };
    let job = |source: Value, changes: Value| {
        let mut spec = json!({"suspend": true, "source": source, "budget": {"maxRequests": 1}});
        merge(&mut spec, &changes);
        tenant.job("base", &["a.jpg"], &spec)
    };
    let prefix = |credentials: &Value| {
        json!({"uris": null, "prefix": {"bucket": "photos", "prefix": "a/", "modifiedAfter": "2026-01-31T00:00:00Z",
            "credentials": credentials}})
    };
    let manifest = |credentials: &Value| json!({"uris": null, "manifest": {"uri": "oss://photos/list", "credentials": credentials}});
    let policy = json!({"credentials": assumed, "grantRef": {"name": "open", "namespace": "team"}, "thresholds": {"minScore": "0.6"},
        "access": {"mode": "BucketPolicy", "passedRole": "r"}, "results": {"select": "Failed"},
        "failureRules": [{"codes": ["ResourceNotFound"], "action": "IgnoreItem"}]});
    let chain = json!({"access": {"mode": "RoleChain", "roleChain": {"serviceRole": "a", "chain": [{"role": "b", "assumeRoleFor": ACCOUNT_A}]}},
        "credentials": service_account()});
    let texts = [
        grant(assumed.clone()),
        grant(service_account()),
        job(json!({}), policy),
        job(prefix(&secret), chain),
        job(prefix(&service_account()), json!({})),
        job(manifest(&secret), json!({})),
        job(manifest(&service_account()), json!({})),
    ];
    texts
        .iter()
        .map(|text| serde_json::from_str(text).unwrap())
        .collect()
}

/// Returns field and message of each cause for which the API server rejects an object, or a change of the stored one;
/// nothing if it accepts it. Nothing is stored.
async fn causes(tenant: &Tenant, object: &Value, is_change: bool) -> Vec<(String, String)> {
    let api = tenant.api(object["kind"].as_str().unwrap());
    let answer = if is_change {
        let dry = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        api.patch("base", &dry, &Patch::Merge(object)).await
    } else {
        let mut object = object.clone();
        object["metadata"]["name"] = json!("unstored");
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        api.create(&dry, &serde_json::from_value(object).unwrap()).await
    };
    match answer {
        Ok(_) => Vec::new(),
        Err(kube::Error::Api(status)) => {
            let causes = status.details.map(|details| details.causes).unwrap_or_default();
            causes
                .into_iter()
                .map(|cause| (cause.field, cause.message))
                .collect()
        }
        Err(error) => panic!("{error}"),
    }
}

// G7, J18
pub async fn check_14_every_rule_of_both_kinds_is_broken_and_answers_with_its_message(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "broken-rules").await;
    let (cases, rules, accepted) = (cases(), rules(), accepted(&tenant));
    assert!(rules.len() >= 60, "{}", rules.len());
    let known: BTreeSet<&str> = cases.iter().map(|(message, _)| *message).collect();
    let written: BTreeSet<&str> = rules.iter().map(|rule| rule.message.as_str()).collect();
    assert_eq!(
        known, written,
        "each message of a rule has a case, and no other has"
    );
    for object in &accepted {
        assert_eq!(causes(&tenant, object, false).await, [], "{object}");
    }
    for kind in [GRANT, JOB] {
        let first = accepted.iter().find(|object| object["kind"] == kind).unwrap();
        tenant.apply(&first.to_string()).await;
    }
    let mut silent = Vec::new();
    for rule in &rules {
        let place = &rule.pointer;
        let fits = |object: &&Value| object["kind"] == *rule.kind && object.pointer(place).is_some();
        let mut object = accepted.iter().find(fits).expect(place).clone();
        let (_, change) = cases
            .iter()
            .find(|(message, _)| *message == rule.message)
            .unwrap();
        if rule.is_for_updates {
            object["spec"] = change.clone();
        } else {
            merge(object.pointer_mut(place).unwrap(), change);
        }
        let seen = causes(&tenant, &object, rule.is_for_updates).await;
        let expected = if rule.message == ABOUT_THE_VALUE.0 {
            ABOUT_THE_VALUE.1
        } else {
            &rule.message
        };
        if !seen
            .iter()
            .any(|(field, message)| *field == rule.field && message.ends_with(expected))
        {
            silent.push(format!("{} {}: {expected}: {seen:?}", rule.kind, rule.field));
        }
    }
    assert!(silent.is_empty(), "{}", silent.join("\n"));
    println!("{} rules answered", rules.len());
}
