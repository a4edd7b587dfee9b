//! Health as tools show it: the shipped check for Argo CD, run by Lua, and the expressions for Flux, run by the API
//! server's own CEL, over real objects in each of their states.

use std::sync::Arc;

use imm_emulator::{FaultAnswer, FaultEffect};
use imm_harness::until;
use mlua::{Lua, Table};
use serde_json::{Value, json};

use crate::support::tenant::{GRANT, JOB};
use crate::support::{PATIENCE, Stage, Tenant, condition, reason, until_held};

fn shipped(file: &str) -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/gitops");
    let text = std::fs::read_to_string(path.join(file)).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

fn lua_value(lua: &Lua, value: &Value) -> mlua::Value {
    match value {
        Value::Null => mlua::Value::Nil,
        Value::Bool(yes) => mlua::Value::Boolean(*yes),
        Value::Number(number) => mlua::Value::Number(number.as_f64().unwrap()),
        Value::String(text) => mlua::Value::String(lua.create_string(text).unwrap()),
        Value::Array(list) => {
            let items = list.iter().map(|item| lua_value(lua, item));
            mlua::Value::Table(lua.create_sequence_from(items).unwrap())
        }
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, member)| (name.as_str(), lua_value(lua, member)));
            mlua::Value::Table(lua.create_table_from(members).unwrap())
        }
    }
}

/// Returns health and message as Argo CD shows them.
fn argo(object: &Value) -> (String, String) {
    let key = format!(
        "resource.customizations.health.immops.dev_{}",
        object["kind"].as_str().unwrap()
    );
    let script = shipped("argocd-cm.yaml")["data"][key]
        .as_str()
        .unwrap()
        .to_owned();
    let lua = Lua::new();
    lua.globals().set("obj", lua_value(&lua, object)).unwrap();
    let health: Table = lua.load(script).eval().unwrap();
    (health.get("status").unwrap(), health.get("message").unwrap())
}

/// Makes the API server answer each dry run of a change with Flux's view of the object: first the generation, then the
/// expressions in their order, with the object's members as variables.
pub async fn install_expressions(stage: &Stage) {
    let kustomization = shipped("flux-kustomization.yaml");
    let mut manifests = Vec::new();
    for check in kustomization["spec"]["healthCheckExprs"].as_array().unwrap() {
        let plural = format!("{}s", check["kind"].as_str().unwrap().to_lowercase());
        let holds = |name: &str| {
            let expression = check[name].as_str().unwrap();
            format!("[object.status].exists(status, [object.spec].exists(spec, {expression}))")
        };
        let [in_progress, failed, current] = ["inProgress", "failed", "current"].map(holds);
        let verdict = format!(
            "'health=' + (object.status.observedGeneration != object.metadata.generation ? 'InProgress' : \
             {in_progress} ? 'InProgress' : {failed} ? 'Failed' : {current} ? 'Current' : 'InProgress')"
        );
        let rule = json!({"apiGroups": ["immops.dev"], "apiVersions": ["v1alpha1"], "operations": ["UPDATE"], "resources": [plural]});
        let (api, name) = ("admissionregistration.k8s.io/v1", format!("health-of-{plural}"));
        manifests.push(
            json!({"apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
            "spec": {"matchConstraints": {"resourceRules": [rule]},
                "matchConditions": [{"name": "asked", "expression": "request.dryRun"}],
                "validations": [{"expression": "false", "messageExpression": verdict}]}}),
        );
        manifests.push(
            json!({"apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]}}),
        );
    }
    let manifests: Vec<String> = manifests.iter().map(Value::to_string).collect();
    stage.plane.apply(&manifests.join("\n---\n")).await.unwrap();
}

/// Returns the status as Flux shows it.
async fn flux(tenant: &Tenant, object: &Value) -> String {
    let [kind, name] =
        [&object["kind"], &object["metadata"]["name"]].map(|text| text.as_str().unwrap().to_lowercase());
    let args = [
        "annotate",
        &kind,
        &name,
        "-n",
        &tenant.name,
        "asked=now",
        "--dry-run=server",
    ];
    until("the expressions to take effect", PATIENCE, || async {
        let output = match tenant.stage.plane.kubectl(&args).await {
            Ok(output) => output,
            Err(refusal) => refusal.to_string(),
        };
        let health = output.split_once("health=").map(|(_, rest)| {
            let end = rest.find(|c: char| !c.is_ascii_alphabetic());
            rest[..end.unwrap_or(rest.len())].to_owned()
        });
        health.ok_or(output)
    })
    .await
    .unwrap()
}

/// Returns the status by the rules of kstatus for kinds that it does not know. Flux without expressions and Helm 4 use it.
fn kstatus(object: &Value) -> &'static str {
    let [reconciling, stalled, ready] =
        ["Reconciling", "Stalled", "Ready"].map(|kind| condition(object, kind)[0]);
    if !object["metadata"]["deletionTimestamp"].is_null() {
        "Terminating"
    } else if object["status"]["observedGeneration"] != object["metadata"]["generation"]
        || reconciling == "True"
    {
        "InProgress"
    } else if stalled == "True" {
        "Failed"
    } else if ready == "True" {
        "Current"
    } else {
        "InProgress"
    }
}

/// Checks the health of an object in Argo CD, and its status in Flux and by kstatus. Argo CD shows an object that is
/// being deleted as Progressing without asking the script.
pub async fn shows(tenant: &Tenant, object: &Value, in_argo: &str, in_flux: &str) {
    let (health, message) = argo(object);
    let seen = (health.as_str(), flux(tenant, object).await);
    assert_eq!(seen, (in_argo, in_flux.to_owned()), "{object}");
    let deleting = !object["metadata"]["deletionTimestamp"].is_null();
    let expected = if deleting { "Terminating" } else { in_flux };
    assert_eq!(kstatus(object), expected, "{object}");
    if !reason(object).is_empty() {
        assert_eq!(
            message,
            condition(object, "Ready")[2],
            "the message of Ready is shown too"
        );
    }
}

// P4
pub async fn check_23_tools_see_the_health_of_a_grant(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "grants-health").await;
    install_expressions(&stage).await;
    let first_read = tenant.hold("GetBucketPolicy", 0, Some(1));
    tenant.apply(&tenant.grant("healthy", &json!({}))).await;
    let unseen = tenant.object(GRANT, "healthy").await;
    assert_eq!(unseen["status"]["observedGeneration"], -1);
    shows(&tenant, &unseen, "Progressing", "InProgress").await;
    drop(first_read);
    let applied = tenant.until_reason(GRANT, "healthy", "Applied").await;
    shows(&tenant, &applied, "Healthy", "Current").await;

    let slow = FaultAnswer {
        status: 503,
        code: "MetaOperationQpsLimitExceeded".to_owned(),
        ..FaultAnswer::default()
    };
    tenant.fault("GetBucketPolicy", 0, 4, FaultEffect::Answer(slow));
    tenant.request_reconcile(GRANT, "healthy").await;
    let waiting = tenant.until_reason(GRANT, "healthy", "RateLimited").await;
    let (health, _) = argo(&waiting);
    assert_eq!(
        (health.as_str(), kstatus(&waiting)),
        ("Progressing", "InProgress"),
        "{waiting}"
    );
    tenant.until_reason(GRANT, "healthy", "Applied").await;

    for (changes, reason, in_argo) in [
        (json!({"suspend": true}), "Suspended", "Suspended"),
        (json!({"mode": "Preview"}), "Preview", "Healthy"),
    ] {
        tenant.apply(&tenant.grant("healthy", &changes)).await;
        let grant = tenant.until_reason(GRANT, "healthy", reason).await;
        shows(&tenant, &grant, in_argo, "Current").await;
    }
    let wrong = json!({"bucket": {"ownerUID": "1111222233334444"}});
    tenant.apply(&tenant.grant("stalled", &wrong)).await;
    let stalled = tenant.until_reason(GRANT, "stalled", "OwnerMismatch").await;
    shows(&tenant, &stalled, "Degraded", "Failed").await;

    let removal = tenant.hold("GetBucketPolicy", 0, None);
    tenant.delete(GRANT, "healthy").await;
    until_held(&removal, 1).await;
    let deleting = tenant.object(GRANT, "healthy").await;
    shows(&tenant, &deleting, "Progressing", "InProgress").await;
    drop(removal);
    tenant.until_deleted(GRANT, "healthy").await;
}

// P4
pub async fn check_23_tools_see_the_health_of_a_job(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "jobs-health").await;
    install_expressions(&stage).await;
    for key in ["a.jpg", "b.jpg"] {
        assert!(stage.cloud.put_object(&tenant.bucket, key, "pixels", Some("0.5")));
    }
    tenant.granted("granted", &json!({})).await;
    let after = |changes: Value| {
        let mut spec = json!({"grantRef": {"name": "granted"}, "grantWait": {"settleSeconds": 0}});
        crate::support::tenant::merge(&mut spec, &changes);
        spec
    };
    for (name, changes, wanted, in_argo, in_flux) in [
        (
            "waiting",
            json!({"grantRef": {"name": "none"}}),
            "WaitingForGrant",
            "Progressing",
            "InProgress",
        ),
        ("complete", json!({}), "Completed", "Healthy", "Current"),
        (
            "paused",
            json!({"budget": {"maxRequests": 1}}),
            "BudgetExceeded",
            "Suspended",
            "Current",
        ),
        (
            "suspended",
            json!({"suspend": true}),
            "Suspended",
            "Suspended",
            "Current",
        ),
        (
            "failed",
            json!({"project": {"name": "no-such-project"}}),
            "ProjectNotFound",
            "Degraded",
            "Failed",
        ),
        (
            "stalled",
            json!({"credentials": {"secretRef": {"name": "reader"}}}),
            "CredentialsUnavailable",
            "Degraded",
            "Failed",
        ),
    ] {
        tenant
            .apply(&tenant.job(name, &["a.jpg", "b.jpg"], &after(changes)))
            .await;
        let job = tenant.until_reason(JOB, name, wanted).await;
        shows(&tenant, &job, in_argo, in_flux).await;
    }
    // A job has no finalizer of the operator; Argo CD deletes in the foreground, which adds one.
    for name in ["complete", "suspended"] {
        let finalizers = |all: Value| json!({"metadata": {"finalizers": all}});
        tenant
            .patch(JOB, name, &finalizers(json!(["example.com/held"])))
            .await;
        tenant.delete(JOB, name).await;
        let deleting = tenant.object(JOB, name).await;
        shows(&tenant, &deleting, "Progressing", "InProgress").await;
        tenant.patch(JOB, name, &finalizers(Value::Null)).await;
        tenant.until_deleted(JOB, name).await;
    }
}
