//! Where results are stored, which of them expire, and what other writers of them can do.

use std::path::PathBuf;
use std::sync::Arc;

use imm_emulator::ManySeed;
use serde_json::{Value, json};
use tokio::process::Command;

use super::fixtures::{
    assert_counts, assert_indexes, item_counts, prefix_job, put_images, reports_of, results_of, set_speed,
    until_reported, with_grant, without_reconcile_echo,
};
use super::scoring::{gallery, over};
use crate::support::tenant::JOB;
use crate::support::{Stage, Tenant, condition};

/// Returns the output of `imm-operator results`, and its exit code.
async fn printed(tenant: &Tenant, job: &str, flags: &[&str]) -> (String, Option<i32>) {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_imm-operator"));
    let output = Command::new(program)
        .args(["results", "-n", &tenant.name, job])
        .args(flags)
        .env("KUBECONFIG", tenant.stage.plane.kubeconfig())
        .output()
        .await
        .unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

/// Returns the exit code when the output cannot be written.
async fn printed_to_a_full_disk(tenant: &Tenant, job: &str) -> Option<i32> {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_imm-operator"));
    command
        .args(["results", "-n", &tenant.name, job])
        .env("KUBECONFIG", tenant.stage.plane.kubeconfig())
        .stdout(full);
    command.status().await.unwrap().code()
}

/// Returns the error for a user without permissions in the tenant's namespace.
async fn refused(tenant: &Tenant, job: &str) -> String {
    let account = tenant
        .stage
        .plane
        .service_account_kubeconfig(&tenant.name, "stranger");
    let output = Command::new(env!("CARGO_BIN_EXE_imm-operator"))
        .args(["results", "-n", &tenant.name, job])
        .env("KUBECONFIG", account.await.unwrap())
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

/// Checks that both output formats contain exactly these results, in order.
async fn prints(tenant: &Tenant, job: &str, results: &[Value]) {
    let (lines, code) = printed(tenant, job, &["--output", "jsonl"]).await;
    assert_eq!(code, Some(0), "{lines}");
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines, results);
    let (table, code) = printed(tenant, job, &[]).await;
    assert_eq!(code, Some(0), "{table}");
    assert_eq!(printed_to_a_full_disk(tenant, job).await, Some(1));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let row = |one: &Value| {
        let fields = [&one["uri"], &one["score"], &one["code"]].map(text);
        format!("{},{}", one["index"], fields.join(","))
    };
    let rows: Vec<String> = std::iter::once("index,uri,score,code".to_owned())
        .chain(results.iter().map(row))
        .collect();
    assert_eq!(table.lines().collect::<Vec<_>>(), rows);
}

// J21
pub async fn a_hundred_results_are_in_status_and_more_or_longer_ones_in_reports(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "hundred", 101).await;
    assert!(
        stage
            .cloud
            .put_object(&tenant.bucket, &keys[7], "no picture", None)
    );
    tenant
        .apply(&over(&tenant, "few", &keys[..100], &json!({})))
        .await;
    tenant.apply(&over(&tenant, "more", &keys, &json!({}))).await;
    let long: Vec<String> = (0..100)
        .map(|n| format!("{}/{n:03}.jpg", "l".repeat(700)))
        .collect();
    for key in &long {
        assert!(stage.cloud.put_object(&tenant.bucket, key, "pixels", Some("0.5")));
    }
    tenant.apply(&over(&tenant, "long", &long, &json!({}))).await;
    for (name, total, inline) in [("few", 100, true), ("more", 101, false), ("long", 100, false)] {
        let job = tenant.until_true(JOB, name, "Complete").await;
        let (kept, reports) = (&job["status"]["results"], &job["status"]["reports"]);
        assert_eq!(
            [kept.is_null(), reports.is_null()],
            [!inline, inline],
            "{name}: {reports}"
        );
        assert_eq!(
            reports_of(&tenant, name).await.len(),
            usize::from(!inline),
            "{name}"
        );
        let results = results_of(&tenant, name).await;
        assert_indexes(&results, total);
        let stored = condition(&job, "ResultsStored");
        assert_eq!(stored[0], "True");
        let names_report = stored[2].contains(&format!(
            "1 ImageScoreReport: imm-operator results -n hundred {name}"
        ));
        assert_eq!(names_report, !inline, "{}", stored[2]);
        prints(&tenant, name, &results).await;
    }
    let (said, code) = printed(&tenant, "none", &[]).await;
    assert_eq!((said.as_str(), code), ("", Some(1)));
    let report = &reports_of(&tenant, "more").await[0];
    let owner = &report["metadata"]["ownerReferences"][0];
    let job = tenant.object(JOB, "more").await;
    assert_eq!(owner["uid"], job["metadata"]["uid"]);
    assert_eq!([&owner["kind"], &owner["name"]], ["ImageScoreJob", "more"]);
    // Deleting a job deletes its reports.
    tenant.delete(JOB, "more").await;
    let name = report["metadata"]["name"].as_str().unwrap();
    tenant.until_deleted("ImageScoreReport", name).await;
    assert_eq!(reports_of(&tenant, "long").await.len(), 1);
}

// J31
pub async fn the_lowest_scores_are_printed_first_from_status_and_from_reports(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "worst", 120).await;
    let scores = [(3, "0.1"), (2, "0.10"), (90, "0.05"), (5, "0.6")];
    for (index, score) in scores {
        assert!(
            stage
                .cloud
                .put_object(&tenant.bucket, &keys[index], "pixels", Some(score))
        );
    }
    assert!(
        stage
            .cloud
            .put_object(&tenant.bucket, &keys[4], "no picture", None)
    );
    for (name, images, lowest) in [("few", 20, [2, 3, 5]), ("many", 120, [90, 2, 3])] {
        tenant
            .apply(&over(&tenant, name, &keys[..images], &json!({})))
            .await;
        tenant.until_true(JOB, name, "Complete").await;
        let all = results_of(&tenant, name).await;
        let wanted = |index: &usize| all[*index].to_string();
        let (lines, code) = printed(&tenant, name, &["--lowest", "3", "-o", "jsonl"]).await;
        assert_eq!(code, Some(0), "{lines}");
        let parsed = lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let parsed: Vec<String> = parsed.map(|one| one.to_string()).collect();
        assert_eq!(parsed, lowest.iter().map(wanted).collect::<Vec<_>>(), "{name}");
        let (table, _) = printed(&tenant, name, &["--worst", "1000"]).await;
        assert_eq!(
            table.lines().count(),
            images,
            "a header, and no failed image: {table}"
        );
        let first = format!("{},{},", lowest[0], all[lowest[0]]["uri"].as_str().unwrap());
        assert!(table.lines().nth(1).unwrap().starts_with(&first), "{table}");
    }
    stage
        .kubectl(&["create", "serviceaccount", "stranger", "-n", "worst"])
        .await;
    let said = refused(&tenant, "few").await;
    assert!(
        said.contains("you need permission to get imagescorejobs") && said.contains("namespace worst"),
        "{said}"
    );
}

// J20
pub async fn reports_and_status_stay_small_however_long_the_keys(stage: Arc<Stage>) {
    const IMAGES: u64 = 20_000;
    let tenant = with_grant(&stage, "bulky").await;
    set_speed(&tenant, 2_000, 0);
    let prefix = format!("photos/{}/", "\u{4e2d}".repeat(330));
    let many = ManySeed {
        prefix: prefix.clone(),
        count: IMAGES,
        score: Some("0.123456".to_owned()),
        ..ManySeed::default()
    };
    assert!(tenant.stage.cloud.put_many(&tenant.bucket, many).unwrap());
    tenant
        .apply(&prefix_job(
            &tenant,
            "bulky",
            &json!({"maxObjects": IMAGES}),
            &json!({}),
        ))
        .await;
    let job = tenant.until_true(JOB, "bulky", "Complete").await;
    let reports = reports_of(&tenant, "bulky").await;
    // About 240 of these results fill a report.
    assert!(reports.len() >= 80, "{}", reports.len());
    for report in &reports {
        let results = report["report"]["results"].as_array().unwrap();
        let bytes = report["report"].to_string().len();
        assert!(
            results.len() <= 500 && bytes <= 256 * 1024,
            "{} in {bytes}",
            results.len()
        );
        assert_eq!(report["report"]["items"], results.len());
    }
    let numbers: Vec<&Value> = reports.iter().map(|report| &report["report"]["number"]).collect();
    assert_eq!(
        numbers,
        (0..reports.len()).collect::<Vec<_>>(),
        "report numbers without a gap"
    );
    assert_eq!(
        [
            &job["status"]["reports"]["count"],
            &job["status"]["reports"]["items"]
        ],
        [reports.len(), usize::try_from(IMAGES).unwrap()]
    );
    assert!(job["status"].to_string().len() < 128 * 1024);
    let results = results_of(&tenant, "bulky").await;
    assert_indexes(&results, usize::try_from(IMAGES).unwrap());
    assert!(results.iter().all(|result| result["score"] == "0.123456"));
    assert_counts(&tenant, &job);
}

fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}

// J20
pub async fn a_report_deleted_or_edited_while_the_job_runs_costs_no_second_call(stage: Arc<Stage>) {
    let tenant = with_grant(&stage, "touched").await;
    put_images(&tenant, 150, Some("0.5"));
    set_speed(&tenant, 100, 400);
    let changes = json!({"parallelism": 8});
    tenant
        .apply(&prefix_job(&tenant, "touched", &json!({}), &changes))
        .await;
    let name = name_of(&until_reported(&tenant, "touched", 10).await);
    tenant.delete("ImageScoreReport", &name).await;
    let name = name_of(&until_reported(&tenant, "touched", 40).await);
    stage
        .kubectl(&["label", "isr", &name, "-n", "touched", "edited-by=someone"])
        .await;
    // A changed score: the job keeps what is stored, and no call is billed again.
    until_reported(&tenant, "touched", 60).await;
    tenant
        .patch(
            "ImageScoreReport",
            &name,
            &json!({"report": {"min": "0.1", "reserved": 1}}),
        )
        .await;
    tenant
        .patch(JOB, "touched", &json!({"spec": {"parallelism": 50}}))
        .await;
    let job = tenant.until_true(JOB, "touched", "Complete").await;
    assert_indexes(&results_of(&tenant, "touched").await, 150);
    assert_eq!(tenant.scores().len(), 150, "each image is requested once");
    assert_counts(&tenant, &job);
}

// J20
pub async fn a_report_edited_while_the_job_runs_is_corrected(stage: Arc<Stage>) {
    let tenant = with_grant(&stage, "forged").await;
    put_images(&tenant, 120, Some("0.5"));
    set_speed(&tenant, 100, 400);
    let changes = json!({"parallelism": 20});
    tenant
        .apply(&prefix_job(&tenant, "forged", &json!({}), &changes))
        .await;
    let mut report = until_reported(&tenant, "forged", 10).await;
    let name = report["metadata"]["name"].as_str().unwrap().to_owned();
    report["report"]["results"][3]["score"] = json!("0.9");
    let results = json!({"report": {"results": report["report"]["results"]}});
    tenant.patch("ImageScoreReport", &name, &results).await;
    tenant.until_true(JOB, "forged", "Complete").await;
    let results = results_of(&tenant, "forged").await;
    assert_indexes(&results, 120);
    assert!(
        results.iter().all(|one| one["score"] == "0.5"),
        "the edit is reverted"
    );
    assert_eq!(tenant.scores().len(), 120, "no image is requested again");
}

// J28
pub async fn only_the_selected_results_are_kept(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "select", 120).await;
    set_speed(&tenant, 1_000, 0);
    let cloud = &stage.cloud;
    for (index, score) in [(3, "0.1"), (70, "0.599999"), (71, "0.6")] {
        assert!(cloud.put_object(&tenant.bucket, &keys[index], "pixels", Some(score)));
    }
    assert!(cloud.put_object(&tenant.bucket, &keys[4], "no picture", None));
    let mut calls = 0;
    for (name, images, select, kept) in [
        ("inline-below", 100, "BelowThreshold", vec![3, 4, 70]),
        ("inline-failed", 100, "Failed", vec![4]),
        ("reports-below", 120, "BelowThreshold", vec![3, 4, 70]),
        ("reports-failed", 120, "Failed", vec![4]),
    ] {
        let changes = json!({"thresholds": {"minScore": "0.6"}, "results": {"select": select}});
        tenant
            .apply(&over(&tenant, name, &keys[..images], &changes))
            .await;
        let pruned = |job: &Value| job["status"]["resultsPruned"] == true;
        let job = tenant.until(JOB, name, "the selected results", pruned).await;
        assert_eq!(condition(&job, "Complete")[0], "True");
        let [_, _, message] = condition(&job, "ResultsStored");
        assert!(message.contains("results.select"), "{name}: {message}");
        let results = results_of(&tenant, name).await;
        let indexes: Vec<&Value> = results.iter().map(|result| &result["index"]).collect();
        assert_eq!(indexes, kept, "{name}");
        let [total, below] = item_counts(&job, ["total", "belowThreshold"]);
        assert_eq!((usize::try_from(total).unwrap(), below), (images, 2), "{name}");
        assert_eq!(job["status"]["summary"]["min"], "0.1", "{name}");
        prints(&tenant, name, &results).await;
        calls += images;
        assert_eq!(tenant.scores().len(), calls, "{name}");
    }
}

// J28
pub async fn expired_results_are_deleted_and_the_job_stays(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "brief", 101).await;
    set_speed(&tenant, 1_000, 0);
    let mut calls = 0;
    for (name, images) in [("inline", 10), ("reports", 101)] {
        let changes = json!({"results": {"ttlSecondsAfterFinished": 1}});
        let manifest = over(&tenant, name, &keys[..images], &changes);
        tenant.apply(&manifest).await;
        let job = tenant
            .until(JOB, name, "deleted results", |job| {
                condition(job, "ResultsStored")[1] == "ResultsExpired"
            })
            .await;
        assert_eq!(results_of(&tenant, name).await, Vec::<Value>::new());
        assert_eq!(condition(&job, "Complete")[0], "True");
        assert_eq!(job["status"]["summary"]["mean"], "0.727");
        assert_eq!(job["status"]["progress"], format!("{images}/{images}"));
        tenant.one_event(name, "ResultsExpired").await;
        prints(&tenant, name, &[]).await;
        // As GitOps does: the same manifest is applied repeatedly.
        for _ in 0..2 {
            tenant.apply(&manifest).await;
            tenant.request_reconcile(JOB, name).await;
        }
        calls += images;
        assert_eq!(
            without_reconcile_echo(&tenant.object(JOB, name).await),
            without_reconcile_echo(&job)
        );
        assert_eq!(tenant.scores().len(), calls);
        tenant.one_event(name, "ResultsExpired").await;
    }
}

// J28: alone, because the operator is killed.
pub async fn results_that_expire_while_the_operator_is_down_are_deleted_after_a_restart(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "asleep", 101).await;
    set_speed(&tenant, 1_000, 0);
    let keep = json!({"results": {"ttlSecondsAfterFinished": 3}});
    tenant.apply(&over(&tenant, "asleep", &keys, &keep)).await;
    let job = tenant.until_true(JOB, "asleep", "Complete").await;
    stage.kill_operator().await;
    assert_eq!(condition(&job, "ResultsStored")[0], "True");
    stage.start_operator().await;
    tenant
        .until(JOB, "asleep", "deleted results", |job| {
            condition(job, "ResultsStored")[1] == "ResultsExpired"
        })
        .await;
    assert!(reports_of(&tenant, "asleep").await.is_empty());
    tenant.apply(&over(&tenant, "asleep", &keys, &keep)).await;
    assert_eq!(tenant.scores().len(), 101);
    tenant.one_event("asleep", "ResultsExpired").await;
}
