//! `DetectImageScore`: reads the object as the project's service role, or as the last role of a chain, and scores it.
//! The caller needs no permission for the object: only the role's permissions under the bucket policy count.

use std::sync::Arc;

use serde_json::{Value, json};

use super::chain::CredentialConfig;
use super::{check_passing, enter_project, throttled};
use crate::answer::{Answer, RpcError};
use crate::cloud::Cloud;
use crate::ledger::Call;
use crate::policy::Context;
use crate::rpc::{RpcRequest, source};
use crate::score::has_too_many_pixels;
use crate::seed::PassedRole;
use crate::world::buckets::Content;
use crate::world::callers::Caller;

/// The largest image that is scored.
const MAX_IMAGE_BYTES: usize = 20 * 1024 * 1024;

/// The VPC of a project that reads from one.
const READER_VPC: &str = "vpc-imm";

/// The source of the score: a picture, or a known score that needs no pixels.
enum Source {
    Scored(String),
    Picture(Arc<Content>),
}

/// A slot among the requests in flight. Dropping the value releases the slot.
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
    order: &RpcRequest,
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
    let score = match read_source(cloud, order, caller, &place.project, call)? {
        Source::Scored(score) => Ok(score),
        // Decoding a large picture is slow, so it runs on a blocking thread.
        Source::Picture(content) => tokio::task::spawn_blocking(move || score_of(&content))
            .await
            .unwrap_or(Err("The source cannot be scored.")),
    };
    let score = score.map_err(|message| RpcError::new(400, "InvalidArgument", message))?;
    // The JSON library reads numbers with a small error, the standard library without.
    let number = match (score.parse::<u64>(), score.parse::<f64>()) {
        (Ok(whole), _) => Value::from(whole),
        (Err(_), Ok(number)) => Value::from(number),
        (Err(_), Err(_)) => Value::Null,
    };
    let body = json!({"RequestId": call.request_id, "ImageScore": {"OverallQualityScore": number}});
    Ok(Answer::json(&body))
}

/// Returns the score of a picture, or what is wrong with it.
fn score_of(content: &Content) -> Result<String, &'static str> {
    if has_too_many_pixels(&content.bytes) {
        return Err("The source exceeds 30,000 pixels in width or height, or 250 million pixels.");
    }
    let unknown = "The source is not an image in a supported format (JPEG, PNG, BMP, WebP, TIFF).";
    content.score().ok_or(unknown)
}

fn read_source(
    cloud: &Cloud,
    order: &RpcRequest,
    caller: &Caller,
    project: &(String, String),
    call: &mut Call,
) -> Result<Source, RpcError> {
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
    let config = CredentialConfig::read(order)?;
    let world = cloud.world();
    let project = world.projects.get(project).ok_or_else(|| missing("project"))?;
    let bucket = world.buckets.get(bucket).ok_or_else(|| missing("bucket"))?;
    if bucket.region != project.region {
        let message = format!("The bucket is not in the project's region {}.", project.region);
        return Err(RpcError::new(400, "InvalidArgument", message));
    }
    let denied = |role: &str| {
        let message = format!("The role {role} has no right to read the source.");
        RpcError::new(403, "AccessDenied", message)
    };
    let own = &project.service_role;
    let passed = match (project.caller_passes, &config) {
        (PassedRole::NamedRole | PassedRole::EveryRole, Some(config)) => Some(config.service_role()),
        (PassedRole::EveryRole, None) => Some(own.as_str()),
        (PassedRole::NamedRole, None) | (PassedRole::Nothing, _) => None,
    };
    passed.map_or(Ok(()), |role| check_passing(caller, role))?;
    let role = match config {
        Some(config) => config.session(&world, &project.account)?,
        None => Caller::service_session(&world, &project.account, own)
            .ok_or_else(|| denied(own))?
            .named_by(project),
    };
    let reader = role.principal();
    // IMM's own request to OSS originates inside the cloud and has none of the caller's context.
    let mut context = Context::from([("acs:CurrentTime".to_owned(), cloud.clock.now().to_string())]);
    if let Some(address) = &project.reads_from {
        context.insert("acs:SourceIp".to_owned(), address.clone());
        context.insert("acs:SourceVpc".to_owned(), READER_VPC.to_owned());
    }
    world
        .check_access(
            Some(&role),
            bucket,
            Some(key),
            "oss:GetObject",
            &context,
            cloud.reading(bucket),
        )
        .map_err(|_| denied(&reader))?;
    let policy = bucket.policy.enforced(world.lag);
    let mut statements = policy
        .and_then(|policy| policy.document.as_ref())
        .into_iter()
        .flat_map(|document| &document.statements);
    if project.pass_role_required
        && !statements.any(|statement| statement.actions.iter().any(|action| action == "ram:PassRole"))
    {
        return Err(denied(&reader));
    }
    let object = bucket.objects.get(key);
    if object.is_some_and(|object| !role.decrypts(object)) {
        return Err(denied(&reader));
    }
    call.read_as = Some(reader);
    let object = object.ok_or_else(|| missing("object"))?;
    let unusable = |message: &str| Err(RpcError::new(400, "InvalidArgument", message));
    if !object.is_readable() {
        return unusable("The source is archived and must be restored first.");
    }
    match object.content.bytes.len() {
        0 => return unusable("The source is empty."),
        1..=MAX_IMAGE_BYTES => {}
        _ => return unusable("The source exceeds 20 MB."),
    }
    let picture = || Source::Picture(Arc::clone(&object.content));
    Ok(object.known_score(key).map_or_else(picture, Source::Scored))
}
