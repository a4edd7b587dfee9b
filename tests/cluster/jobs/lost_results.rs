//! What a job can lose to other writers: its status, its reports, or the quota for them; and reports with a foreign
//! finalizer.

use std::sync::Arc;

use imm_harness::until;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::PostParams;
use serde_json::{Value, json};

use super::fixtures::{
    assert_counts, assert_indexes, outcome, prefix_job, put_images, reports_of, results_of, set_speed,
    until_finished, with_grant,
};
use super::scoring::{gallery, over};
use crate::support::tenant::JOB;
use crate::support::{PATIENCE, Stage, Tenant, condition};

const REPORT: &str = "ImageScoreReport";

/// Waits until Ready has the reason, or the job has finished; fails in the second case.
async fn until_ready_reason(tenant: &Tenant, name: &str, reason: &str) -> Value {
    let reported =
        |job: &Value| condition(job, "Ready")[1] == reason || job["status"]["completionTime"].is_string();
    let job = tenant.until(JOB, name, reason, reported).await;
    assert_eq!(condition(&job, "Ready")[1], reason);
    job
}

// J29
pub async fn a_job_that_lost_its_status_resumes_only_on_request(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "robbed", 30).await;
    set_speed(&tenant, 100, 200);
    tenant
        .apply(&over(&tenant, "robbed", &keys, &json!({"parallelism": 2})))
        .await;
    stage
        .until_calls("some calls", &tenant.bucket, "DetectImageScore", 5)
        .await;
    let suspend = |yes: bool| json!({"spec": {"suspend": yes}});
    tenant.patch(JOB, "robbed", &suspend(true)).await;
    tenant.until_true(JOB, "robbed", "Suspended").await;
    let calls = tenant.scores().len();
    let empty = r#"[{"op": "replace", "path": "/status", "value": {}}]"#;
    let rob = [
        "patch",
        "isj",
        "robbed",
        "-n",
        "robbed",
        "--subresource=status",
        "--type=json",
        "-p",
        empty,
    ];
    stage.kubectl(&rob).await;
    tenant.patch(JOB, "robbed", &suspend(false)).await;
    let job = until_ready_reason(&tenant, "robbed", "RestoredFromBackup").await;
    assert_eq!(condition(&job, "Stalled")[0], "True");
    assert_eq!(tenant.scores().len(), calls, "no further call");

    // The mark is the operator's own annotation. Only its removal signals the operator, which notices that automatically.
    let unmark = ["annotate", "isj", "robbed", "-n", "robbed", "immops.dev/started-"];
    stage.kubectl(&unmark).await;
    let job = until_finished(&tenant, "robbed").await;
    assert_eq!(outcome(&job), ["Complete", "Completed"]);
    assert_indexes(&results_of(&tenant, "robbed").await, 30);
    assert_eq!(tenant.scores().len(), calls + 30);
}

/// Returns an admission policy that rejects the second report of each job of the namespace, with the message of a quota
/// for one report. A real quota would need controllers that this control plane does not run.
fn one_report_each(tenant: &Tenant) -> String {
    let second = "!object.metadata.name.endsWith('-00001')";
    admits(tenant, "CREATE", "imagescorereports", second)
}

/// Returns an admission policy for the tenant's namespace: such writes must satisfy an expression.
fn admits(tenant: &Tenant, operation: &str, resource: &str, expression: &str) -> String {
    let (api, name) = ("admissionregistration.k8s.io/v1", format!("full-{}", tenant.name));
    let rule = json!({"apiGroups": ["immops.dev"], "apiVersions": ["v1alpha1"], "operations": [operation], "resources": [resource]});
    let refusal = json!({"expression": expression, "reason": "Forbidden"});
    let policy = json!({"apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {"matchConstraints": {"resourceRules": [rule]}, "validations": [refusal]}});
    let here = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": tenant.name}}});
    let binding = json!({"apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources": here}});
    format!("{policy}\n---\n{binding}")
}

/// Returns whether a second report would be rejected now.
async fn is_full(tenant: &Tenant) -> bool {
    let body = json!({"job": "probe", "number": 1, "firstIndex": 0, "lastIndex": 0, "items": 0, "succeeded": 0,
        "failed": 0, "reserved": 0, "results": []});
    let probe = json!({"apiVersion": "immops.dev/v1alpha1", "kind": REPORT, "report": body,
        "metadata": {"name": "probe-00001", "namespace": tenant.name}});
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let probe = serde_json::from_value(probe).unwrap();
    match tenant.api(REPORT).create(&params, &probe).await {
        Ok(_) => false,
        Err(kube::Error::Api(refusal)) if refusal.code == 403 => true,
        Err(error) => panic!("{error}"),
    }
}

const IMAGES: usize = 600;
/// Starts a job of six hundred images whose second report is rejected, and waits until the job reports that.
async fn job_with_rejected_report(stage: &Arc<Stage>, name: &str) -> Tenant {
    let tenant = with_grant(stage, name).await;
    put_images(&tenant, u64::try_from(IMAGES).unwrap(), Some("0.5"));
    set_speed(&tenant, 400, 20);
    tenant.apply(&one_report_each(&tenant)).await;
    until("the admission policy to take effect", PATIENCE, || async {
        is_full(&tenant).await.then_some(())
    })
    .await
    .unwrap();
    tenant
        .apply(&prefix_job(&tenant, name, &json!({}), &json!({})))
        .await;
    let reported = |job: &Value| {
        condition(job, "ResultsStored")[..2] == ["False", "ReportRejected"] || !outcome(job)[0].is_empty()
    };
    let job = tenant
        .until(JOB, name, "a message about unstored results", reported)
        .await;
    let [_, reason, message] = condition(&job, "ResultsStored");
    assert_eq!(reason, "ReportRejected", "{:?}", outcome(&job));
    assert!(stage.metric("immops_reports_rejected_total", "").await > 0.0);
    assert!(
        message.to_lowercase().contains("imagescorereport"),
        "the message names the rejected object: {message}"
    );
    assert_eq!(reports_of(&tenant, name).await.len(), 1);
    tenant
}

async fn make_room(tenant: &Tenant) {
    for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
        let name = format!("full-{}", tenant.name);
        tenant.stage.kubectl(&["delete", kind, &name]).await;
    }
}

async fn all_is_stored(tenant: &Tenant) {
    let job = until_finished(tenant, &tenant.name).await;
    assert_eq!(outcome(&job), ["Complete", "Completed"]);
    assert_eq!(condition(&job, "ResultsStored")[..2], ["True", "Stored"]);
    assert_indexes(&results_of(tenant, &tenant.name).await, IMAGES);
    assert_eq!(tenant.scores().len(), IMAGES, "no call is billed twice");
    assert_counts(tenant, &job);
}

// J20, P2
pub async fn results_that_cannot_be_stored_are_kept_until_there_is_quota(stage: Arc<Stage>) {
    let tenant = job_with_rejected_report(&stage, "crowded").await;
    // An edit in this state still updates `observedGeneration`.
    tenant
        .patch(JOB, "crowded", &json!({"spec": {"maxFailedItems": 7}}))
        .await;
    let noted = |job: &Value| job["status"]["observedGeneration"] == job["metadata"]["generation"];
    let job = tenant.until(JOB, "crowded", "the observed edit", noted).await;
    assert_eq!(condition(&job, "ResultsStored")[1], "ReportRejected");
    make_room(&tenant).await;
    all_is_stored(&tenant).await;
}

// J20, J22: alone, because the operator is stopped.
pub async fn a_shutdown_waits_for_quota_for_billed_results(stage: Arc<Stage>) {
    let tenant = job_with_rejected_report(&stage, "leaving").await;
    stage
        .until_calls("all calls", &tenant.bucket, "DetectImageScore", IMAGES)
        .await;
    let (status, ()) = tokio::join!(stage.stop_operator(), make_room(&tenant));
    assert!(status.success(), "{status}");
    stage.start_operator().await;
    all_is_stored(&tenant).await;
}

// J29
pub async fn a_job_whose_start_cannot_be_marked_reports_that_and_makes_no_call(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "unmarked", 2).await;
    let unmarked =
        "!has(object.metadata.annotations) || !('immops.dev/started' in object.metadata.annotations)";
    tenant
        .apply(&admits(&tenant, "UPDATE", "imagescorejobs", unmarked))
        .await;
    tenant
        .apply(&over(&tenant, "probe", &keys, &json!({"suspend": true})))
        .await;
    until("the admission policy to take effect", PATIENCE, || async {
        let mark = [
            "annotate",
            "isj",
            "probe",
            "-n",
            "unmarked",
            "--dry-run=server",
            "immops.dev/started=x",
        ];
        tenant.stage.plane.kubectl(&mark).await.is_err().then_some(())
    })
    .await
    .unwrap();
    tenant.apply(&over(&tenant, "unmarked", &keys, &json!({}))).await;
    let job = until_ready_reason(&tenant, "unmarked", "NotStarted").await;
    assert_eq!(condition(&job, "Stalled")[0], "True");
    let [_, _, message] = condition(&job, "Ready");
    assert!(message.contains("admission"), "{message}");
    assert!(tenant.scores().is_empty());
    // Another attempt changes no condition.
    let since = Timestamp::now();
    until("another second", PATIENCE, || async {
        (Timestamp::now().duration_since(since) > SignedDuration::from_secs(1)).then_some(())
    })
    .await
    .unwrap();
    let token = tenant.request_reconcile(JOB, "unmarked").await;
    let tried = |job: &Value| {
        job["status"]["lastHandledReconcileAt"] == *token && job["status"]["requests"]["reserved"] == 0
    };
    let again = tenant.until(JOB, "unmarked", "another attempt", tried).await;
    assert_eq!(again["status"]["conditions"], job["status"]["conditions"]);

    make_room(&tenant).await;
    let job = tenant.until(JOB, "unmarked", "its end", |job| {
        job["status"]["completionTime"].is_string()
    });
    assert_eq!(outcome(&job.await), ["Complete", "Completed"]);
    assert_eq!(tenant.scores().len(), 2);
}

/// Returns how often the operator has listed or deleted reports in a namespace.
fn report_requests(tenant: &Tenant) -> usize {
    let asked = tenant.stage.audited().into_iter();
    let asked = asked.filter(|one| one.namespace == tenant.name && one.resource == "imagescorereports");
    asked
        .filter(|one| one.verb == "list" || one.verb == "delete")
        .count()
}

// J28
pub async fn a_report_with_a_foreign_finalizer_is_not_polled_constantly(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "clinging", 101).await;
    set_speed(&tenant, 1_000, 0);
    tenant.apply(&over(&tenant, "clinging", &keys, &json!({}))).await;
    tenant.until_true(JOB, "clinging", "Complete").await;
    let report = reports_of(&tenant, "clinging").await.remove(0);
    let name = report["metadata"]["name"].as_str().unwrap();
    let hold = |finalizers: Value| json!({"metadata": {"finalizers": finalizers}});
    tenant
        .patch(REPORT, name, &hold(json!(["example.com/archive"])))
        .await;
    let change = json!({"spec": {"results": {"ttlSecondsAfterFinished": 0}}});
    tenant.patch(JOB, "clinging", &change).await;
    let going = |report: &Value| report["metadata"]["deletionTimestamp"].is_string();
    tenant.until(REPORT, name, "to be terminating", going).await;
    let (before, since) = (report_requests(&tenant), Timestamp::now());
    let seconds = until("three seconds", PATIENCE, || async {
        let elapsed = Timestamp::now().duration_since(since);
        (elapsed >= SignedDuration::from_secs(3)).then(|| elapsed.as_secs())
    })
    .await
    .unwrap();
    let asked = report_requests(&tenant) - before;
    let most = usize::try_from(4 * (seconds + 1)).unwrap();
    assert!(asked <= most, "{asked} requests in {seconds} seconds");

    tenant.patch(REPORT, name, &hold(Value::Null)).await;
    tenant.until_deleted(REPORT, name).await;
    let pruned = |job: &Value| condition(job, "ResultsStored")[1] == "ResultsExpired";
    tenant.until(JOB, "clinging", "deleted results", pruned).await;
    assert_eq!(tenant.scores().len(), 101);
}

// J20: alone, because the operator is killed.
pub async fn a_report_deleted_while_the_operator_is_down_stalls_the_job(stage: Arc<Stage>) {
    let tenant = with_grant(&stage, "bereft").await;
    put_images(&tenant, 1_200, Some("0.5"));
    set_speed(&tenant, 200, 50);
    let changes = json!({"parallelism": 60});
    tenant
        .apply(&prefix_job(&tenant, "bereft", &json!({}), &changes))
        .await;
    let two = |job: &Value| job["status"]["reports"]["count"].as_u64() >= Some(2);
    tenant.until(JOB, "bereft", "a second report", two).await;
    let suspend = |yes: bool| json!({"spec": {"suspend": yes}});
    tenant.patch(JOB, "bereft", &suspend(true)).await;
    tenant.until_true(JOB, "bereft", "Suspended").await;
    let calls = tenant.scores().len();
    assert!(calls < 1_200, "the job was stopped in the middle");
    let first = reports_of(&tenant, "bereft").await.remove(0);
    assert_eq!(first["report"]["number"], 0);
    tenant
        .delete(REPORT, first["metadata"]["name"].as_str().unwrap())
        .await;
    stage.kill_operator().await;
    stage.start_operator().await;
    tenant.patch(JOB, "bereft", &suspend(false)).await;

    let job = until_ready_reason(&tenant, "bereft", "ResultsMissing").await;
    let [status, _, message] = condition(&job, "Ready");
    assert_eq!([status, condition(&job, "Stalled")[0]], ["False", "True"]);
    assert_eq!(condition(&job, "ResultsStored")[..2], ["False", "ResultsMissing"]);
    let missing = first["report"]["items"].to_string();
    assert!(
        message.contains(&missing) && message.contains("cancel"),
        "{missing} are missing: {message}"
    );
    let token = tenant.request_reconcile(JOB, "bereft").await;
    let echoed = |job: &Value| job["status"]["lastHandledReconcileAt"] == *token;
    let job = tenant.until(JOB, "bereft", "a reconcile", echoed).await;
    assert_eq!(condition(&job, "Ready")[1], "ResultsMissing");
    assert_eq!(tenant.scores().len(), calls, "no call is billed again");

    tenant
        .patch(JOB, "bereft", &json!({"spec": {"cancel": true}}))
        .await;
    let job = until_finished(&tenant, "bereft").await;
    assert_eq!(outcome(&job), ["Failed", "Cancelled"]);
    let stored = condition(&job, "ResultsStored");
    assert_eq!(stored[..2], ["False", "ResultsMissing"], "{stored:?}");
    assert_eq!(tenant.scores().len(), calls);
}

/// Replaces the rules of the operator's ClusterRole.
async fn set_rules(stage: &Stage, rules: &Value) {
    let patch = json!([{"op": "replace", "path": "/rules", "value": rules}]).to_string();
    let role = [
        "patch",
        "clusterrole",
        "imm-operator",
        "--type=json",
        "-p",
        &patch,
    ];
    stage.kubectl(&role).await;
}

// J20: alone, because the operator loses a permission.
pub async fn unreadable_reports_stall_the_job_and_cost_nothing(stage: Arc<Stage>) {
    let tenant = with_grant(&stage, "unread").await;
    put_images(&tenant, 1_000, Some("0.5"));
    set_speed(&tenant, 100, 50);
    let changes = json!({"parallelism": 20});
    tenant
        .apply(&prefix_job(&tenant, "unread", &json!({}), &changes))
        .await;
    let some = |job: &Value| job["status"]["reports"]["items"].as_u64() >= Some(100);
    tenant.until(JOB, "unread", "some results", some).await;
    let suspend = |yes: bool| json!({"spec": {"suspend": yes}});
    tenant.patch(JOB, "unread", &suspend(true)).await;
    tenant.until_true(JOB, "unread", "Suspended").await;
    let calls = tenant.scores().len();
    assert!(calls < 1_000, "the job was stopped in the middle");

    let role = ["get", "clusterrole", "imm-operator", "-o", "json"];
    let role: Value = serde_json::from_str(&stage.kubectl(&role).await).unwrap();
    let all = role["rules"].as_array().unwrap();
    let others = all
        .iter()
        .filter(|rule| !rule["resources"].to_string().contains("imagescorereports"));
    let others: Vec<&Value> = others.collect();
    set_rules(&stage, &json!(others)).await;
    until("the permission to be revoked", PATIENCE, || async {
        let operator = "--as=system:serviceaccount:imm-system:imm-operator";
        let asked = [
            "auth",
            "can-i",
            "list",
            "imagescorereports",
            "-n",
            "unread",
            operator,
        ];
        stage.plane.kubectl(&asked).await.is_err().then_some(())
    })
    .await
    .unwrap();
    tenant.patch(JOB, "unread", &suspend(false)).await;
    let job = until_ready_reason(&tenant, "unread", "ResultsUnreadable").await;
    assert_eq!(condition(&job, "Stalled")[0], "True");
    assert_eq!(
        condition(&job, "ResultsStored")[..2],
        ["False", "ResultsUnreadable"]
    );
    let [_, _, message] = condition(&job, "Ready");
    assert!(message.contains("permissions"), "{message}");
    assert_eq!(tenant.scores().len(), calls, "no call is billed");

    set_rules(&stage, &json!(all)).await;
    tenant.request_reconcile(JOB, "unread").await;
    let job = until_finished(&tenant, "unread").await;
    assert_eq!(outcome(&job), ["Complete", "Completed"]);
    assert_indexes(&results_of(&tenant, "unread").await, 1_000);
    assert_eq!(tenant.scores().len(), 1_000, "no call is billed twice");
}
