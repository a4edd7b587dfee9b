//! `DetectImageScore`: reads the object as the project's service role, through the bucket's policy, and scores it.
//! The caller needs no right to the object, and has no say in how it is read.

use serde_json::json;

use super::{enter_project, throttled};
use crate::answer::{Answer, RpcError};
use crate::cloud::Cloud;
use crate::ledger::Call;
use crate::policy::Context;
use crate::rpc::{Order, source};
use crate::world::buckets::Object;
use crate::world::callers::Caller;

/// Gives the place among the requests in flight back, however the request ends.
struct Place<'a> {
    cloud: &'a Cloud,
    project: (String, String),
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(project) = self.cloud.world().projects.get_mut(&self.project) {
            project.leave();
        }
    }
}

pub(super) async fn detect_image_score(
    cloud: &Cloud,
    order: &Order,
    caller: &Caller,
    call: &mut Call,
) -> Result<Answer, RpcError> {
    let name = enter_project(cloud, order, caller, call)?;
    let id = (caller.account.clone(), name);
    let entered = cloud
        .world()
        .projects
        .get_mut(&id)
        .and_then(|project| project.enter().then_some(project.latency));
    let latency = entered.ok_or_else(|| throttled(cloud, "too many requests in flight"))?;
    let place = Place { cloud, project: id };
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let object = read_as_service_role(cloud, order, &place.project)?;
    // Decoding a large picture takes a while; other calls go on meanwhile.
    let score = tokio::task::spawn_blocking(move || object.score())
        .await
        .unwrap_or(None);
    let score = score.ok_or_else(|| {
        RpcError::new(
            400,
            "InvalidArgument",
            "The source is not an image in a supported format (JPEG, PNG, BMP).",
        )
    })?;
    let number: serde_json::Value = serde_json::from_str(&score).unwrap_or(serde_json::Value::Null);
    let body = json!({"RequestId": call.request_id, "ImageScore": {"OverallQualityScore": number}});
    Ok(Answer::json(&body))
}

fn read_as_service_role(
    cloud: &Cloud,
    order: &Order,
    project: &(String, String),
) -> Result<Object, RpcError> {
    let missing = |what: &str| {
        RpcError::new(
            400,
            "ResourceNotFound",
            format!("The specified resource {what} is not found."),
        )
    };
    let uri = order.required("SourceURI")?;
    let (bucket, key) = source(uri).ok_or_else(|| {
        RpcError::new(
            400,
            "InvalidArgument",
            "SourceURI must have the form oss://bucket/key.",
        )
    })?;
    let world = cloud.world();
    let project = world.projects.get(project).ok_or_else(|| missing("project"))?;
    let bucket = world.buckets.get(bucket).ok_or_else(|| missing("bucket"))?;
    if bucket.region != project.region {
        let message = format!("The bucket is not in the project's region {}.", project.region);
        return Err(RpcError::new(400, "InvalidArgument", message));
    }
    let denied = || {
        let message = format!(
            "The service role {} has no right to read the source.",
            project.service_role
        );
        RpcError::new(403, "AccessDenied", message)
    };
    let role = Caller::service_session(&world, &project.account, &project.service_role).ok_or_else(denied)?;
    // IMM's own request to OSS: it comes from inside the cloud, with none of the caller's facts.
    let context = Context::from([("acs:CurrentTime".to_owned(), cloud.clock.now().to_string())]);
    if !world.allows(
        Some(&role),
        bucket,
        Some(key),
        "oss:GetObject",
        &context,
        cloud.session_wildcard(),
    ) {
        return Err(denied());
    }
    bucket.objects.get(key).cloned().ok_or_else(|| missing("object"))
}
