//! Every YAML block of the documentation is checked: manifests of our kinds as strictly as the API server decodes
//! them, parts of a spec as parts of the samples, Helm values against the chart, and tenancy rules as the operator
//! reads them.

use imm_operator::api::{GROUP, GrantSpec, JobSpec, VERSION, crds};
use imm_operator::core::grant::{PassRoleDecision, parse_spec};
use imm_operator::core::job;
use imm_operator::core::schema::{check, check_envelope};
use imm_operator::core::tenancy::TenancyRules;
use serde_json::{Map, Value};

use super::blocks::blocks;
use super::{pages, read, root};

/// Checks a whole object of one of our kinds, as the API server and the operator do.
pub(super) fn check_object(object: &Value) -> Result<(), String> {
    let mut members = object.as_object().ok_or("not an object")?.clone();
    // A placeholder is a name that the API server rejects, so that a forgotten replacement does no harm.
    if object["metadata"]["name"] == "NAME" {
        members["metadata"]["name"] = "name".into();
    }
    check_envelope(&members, &format!("{GROUP}/{VERSION}"))?;
    let kind = object["kind"].as_str().unwrap_or_default();
    let definitions = crds();
    let definition = definitions
        .iter()
        .find(|definition| definition.spec.names.kind == kind)
        .ok_or_else(|| format!("there is no kind {kind}"))?;
    let schema = definition.spec.versions[0].schema.as_ref().unwrap();
    let properties = schema
        .open_api_v3_schema
        .as_ref()
        .unwrap()
        .properties
        .as_ref()
        .unwrap();
    let mut spec = object["spec"].clone();
    check(&mut spec, &properties["spec"], "spec")?;
    if kind == "ImmBucketGrant" {
        let spec: GrantSpec = serde_json::from_value(spec).map_err(|error| error.to_string())?;
        let parsed = parse_spec(&spec, PassRoleDecision::Omitted);
        return parsed.map(drop).map_err(|error| error.to_string());
    }
    let spec: JobSpec = serde_json::from_value(spec).map_err(|error| error.to_string())?;
    job::validated_source(&spec)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Checks a part of a spec: in the sample of a kind, it replaces the members of the same name.
fn check_part(part: &Map<String, Value>) -> Result<(), String> {
    let merged = |sample: &str| {
        let mut sample: Value = serde_saphyr::from_str(&read(sample)).unwrap();
        let spec = sample["spec"].as_object_mut().unwrap();
        spec.extend(part["spec"].as_object().cloned().unwrap_or_default());
        check_object(&sample)
    };
    merged("deploy/samples/grant.yaml")
        .or_else(|grant| merged("deploy/samples/job.yaml").map_err(|job| format!("{grant}; {job}")))
}

/// Checks Helm values: the chart knows the names, and the tenancy rules are valid. The tests of the chart render it
/// with them.
fn check_values(values: &Map<String, Value>) -> Result<(), String> {
    let known: Value = serde_saphyr::from_str(&read("charts/imm-operator/values.yaml")).unwrap();
    if let Some(name) = values.keys().find(|name| known.get(name.as_str()).is_none()) {
        return Err(format!("the chart has no value {name}"));
    }
    values.get("tenancy").map_or(Ok(()), check_rules)
}

fn check_rules(rules: &Value) -> Result<(), String> {
    let rules: TenancyRules = serde_json::from_value(rules.clone()).map_err(|error| error.to_string())?;
    imm_operator::core::tenancy::check_rules(&rules)
}

/// Checks a document of a block, and returns whether it is a whole object of one of our kinds.
fn check_document(document: &Value) -> Result<bool, String> {
    let members = document.as_object().ok_or("not an object")?;
    let text = |name: &str| members.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("apiVersion").starts_with(GROUP) {
        return check_object(document).map(|()| true);
    }
    let done = if members.contains_key("apiVersion") {
        let named = document["metadata"]["name"].is_string() || text("kind") == "Kustomization";
        let complete = !text("kind").is_empty() && named;
        complete
            .then_some(())
            .ok_or_else(|| "kind or metadata.name is missing".to_owned())
    } else if members.keys().eq(["spec"]) {
        check_part(members)
    } else if members.contains_key("rules") {
        check_rules(document)
    } else if members.contains_key("jobs") && members.contains_key("on") {
        Ok(()) // A workflow of continuous integration.
    } else {
        check_values(members)
    };
    done.map(|()| false)
}

/// Checks all documents of a block, and counts whole objects of our kinds and others.
fn check_block(block: &str, counts: &mut (u32, u32)) -> Result<(), String> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(block).map_err(|error| error.to_string())?;
    for document in documents {
        if check_document(&document)? {
            counts.0 += 1;
        } else {
            counts.1 += 1;
        }
    }
    Ok(())
}

#[test]
fn every_yaml_block_is_valid() {
    let tests = root().join("tests");
    let (mut counts, mut faults) = ((0, 0), Vec::new());
    for (page, text) in pages().into_iter().filter(|(page, _)| !page.starts_with(&tests)) {
        for block in blocks(&text) {
            if let Err(error) = check_block(&block, &mut counts) {
                faults.push(format!("{}: {error}\n{block}", page.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(
        counts.0 > 6 && counts.1 > 12,
        "only {counts:?} documents were checked"
    );
}

#[test]
fn an_invalid_sample_is_detected() {
    let grant = |part: &str| {
        let mut sample: Value = serde_saphyr::from_str(&read("deploy/samples/grant.yaml")).unwrap();
        let part: Value = serde_saphyr::from_str(part).unwrap();
        sample["spec"]
            .as_object_mut()
            .unwrap()
            .extend(part.as_object().cloned().unwrap());
        check_document(&sample)
    };
    assert_eq!(grant("{}"), Ok(true));
    for wrong in [
        "{bucketName: x}",
        "{driftPolicy: Fix}",
        "{grantee: {accountUID: 1234567890123456}}",
        "{credentials: {source: Secret}}",
        "{access: {prefixes: ['a*']}}",
    ] {
        assert!(grant(wrong).is_err(), "{wrong}");
    }
    let document = |text: &str| check_document(&serde_saphyr::from_str(text).unwrap());
    assert!(document("{spec: {credentials: {source: Nobody}}}").is_err());
    assert!(document("{replicas: 2}").is_err());
    assert!(document("{tenancy: {rules: [{namespace: x}]}}").is_err());
    assert_eq!(document("{replicaCount: 2}"), Ok(false));
}
