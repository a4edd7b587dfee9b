//! B13: the API server's cost of storing results.

use imm_operator::api::ImageScoreReport;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams};
use serde_json::json;

use crate::gallery::{self, completed, job, submit};
use crate::stage::{NAMESPACE, Stage, float};
use crate::table::Row;
use crate::{Arguments, Result};

const IMAGES: usize = 10_000;
const RATE: u32 = 100;
const LATENCY_MS: u64 = 50;
/// The API server's metric of request body sizes.
const BODIES: &str = "apiserver_request_body_size_bytes_sum{";
/// The resources that a job writes.
const WRITTEN: [&str; 2] = ["imagescorejobs", "imagescorereports"];

/// Runs the benchmark.
pub async fn run(arguments: &Arguments) -> Result<Vec<Row>> {
    let stage = Stage::set(arguments.operator()?).await?;
    gallery::open(&stage).await?;
    gallery::hang(&stage, "storing", IMAGES)?;
    gallery::project(&stage, "storing", RATE, LATENCY_MS)?;
    let operator = stage.operator(false).await?;
    // Created before the first count, so that its creation does not count as a write of the operator.
    let applied = job("storing", "storing", json!({"suspend": true}));
    submit(&stage, applied).await?;
    let (before, audited) = (sent(&stage).await?, stage.audited()?);
    gallery::change(&stage, "storing", json!({"suspend": false})).await?;
    let (_, job) = completed(&stage, "storing").await?;
    operator.must_run()?;
    let bytes = sent(&stage).await? - before;
    let asked = stage.asked_since(audited)?;
    let writes = |resource: &str| {
        let own = asked.iter().filter(|(verb, what)| {
            what.starts_with(resource) && !["get", "list", "watch"].contains(&verb.as_str())
        });
        own.count()
    };
    let [jobs, reports] = WRITTEN.map(writes);
    let kept = kept(&stage, job).await?;
    let what = format!("{IMAGES} images at {RATE} a second: ");
    Ok(vec![
        Row::new("B13", format!("{what}bytes sent ÷ bytes kept"), bytes / float(kept), "")
            .limit(1.0)
            .goal(3.5)
            .note(format!(
                "request bodies received by the API server ÷ final JSON of the job and its reports; {:.2} MB and {:.2} MB",
                bytes / 1e6,
                float(kept) / 1e6
            )),
        Row::new("B13", format!("{what}writes"), float(jobs + reports), "")
            .goal(160.0)
            .note(format!("{jobs} of the job, {reports} of reports; {LATENCY_MS} ms per call")),
    ])
}

/// Returns the bytes of all request bodies for jobs and reports. Fails if the API server does not report them.
async fn sent(stage: &Stage) -> Result<f64> {
    let request = kube::api::Request::new("/metrics").list(&ListParams::default())?;
    let page = stage.client.request_text(request).await?;
    let lines = page.lines().filter_map(|line| line.strip_prefix(BODIES));
    let own = lines.filter(|line| {
        let resource = |name: &&str| line.contains(&format!("resource=\"{name}\""));
        WRITTEN.iter().any(resource)
    });
    let values: Vec<f64> = own
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    if values.is_empty() {
        return Err("this API server does not count the bytes of bodies".into());
    }
    Ok(values.iter().sum())
}

/// Returns the final size of the job and its reports in bytes, without `managedFields`.
async fn kept(stage: &Stage, job: DynamicObject) -> Result<usize> {
    let kind = ApiResource::erase::<ImageScoreReport>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(stage.client.clone(), NAMESPACE, &kind);
    let mut objects = api.list(&ListParams::default()).await?.items;
    objects.push(job);
    let sizes = objects.into_iter().map(|mut object| {
        object.metadata.managed_fields = None;
        Ok(serde_json::to_vec(&object)?.len())
    });
    sizes.sum()
}
