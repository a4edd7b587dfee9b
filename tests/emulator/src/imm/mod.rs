//! IMM 2020-09-30: projects, and the score of one image that is read under the bucket policy.
//! The caller's permissions cover the project only; the object is read by the project's role.

mod chain;
mod detect;
mod projects;

use crate::answer::{Answer, RpcError};
use crate::cloud::Cloud;
use crate::ledger::Call;
use crate::request::Request;
use crate::rpc::{RpcRequest, authenticate};
use crate::world::callers::Caller;

pub(crate) async fn perform(
    cloud: &Cloud,
    order: &RpcRequest,
    request: &Request,
    call: &mut Call,
) -> Result<Answer, RpcError> {
    if order.version != "2020-09-30" {
        let message = "Only version 2020-09-30 is here; a project made with 2017-09-06 is not visible to it.";
        return Err(RpcError::new(400, "InvalidVersion", message));
    }
    let caller = authenticate(cloud, order, request, call)?;
    match order.action.as_str() {
        "DetectImageScore" => detect::detect_image_score(cloud, order, &caller, call).await,
        "GetProject" => projects::get_project(cloud, order, &caller, call),
        "CreateProject" => projects::create_project(cloud, order, &caller, call),
        "ListRegions" => projects::list_regions(order, call),
        "ListProjects" => projects::list_projects(cloud, order, &caller, call),
        "AttachOSSBucket" => projects::attach_bucket(cloud, order, &caller, call),
        other => Err(RpcError::new(
            404,
            "InvalidAction.NotFound",
            format!("The emulator does not have {other}."),
        )),
    }
}

/// Fails with `NoPermission` if the caller may not perform the action on a project.
fn check_right(caller: &Caller, action: &str, region: &str, project: &str) -> Result<(), RpcError> {
    let resource = format!("acs:imm:{region}:{}:project/{project}", caller.account);
    let action = format!("imm:{action}");
    if caller.may(&action, &resource) {
        return Ok(());
    }
    let message = format!("You are not authorized to operate on the specified resource ({resource}).");
    Err(RpcError::new(403, "NoPermission", message).missing(caller.missing_right(&action)))
}

/// Fails with `NoPermission` if the caller may not pass a role of its account to IMM.
fn check_passing(caller: &Caller, role: &str) -> Result<(), RpcError> {
    let resource = format!("acs:ram::{}:role/{role}", caller.account);
    if caller.may("ram:PassRole", &resource) {
        return Ok(());
    }
    let message = format!("You are not authorized to pass the role {resource}.");
    Err(RpcError::new(403, "NoPermission", message).missing(caller.missing_right("ram:PassRole")))
}

fn throttled(cloud: &Cloud, what: &str) -> RpcError {
    RpcError {
        retry_after_ms: cloud.options.throttle_retry_after_ms,
        ..RpcError::new(
            cloud.options.throttle_status,
            "Throttling.User",
            format!("Request was denied due to {what}."),
        )
    }
}

/// Counts a request against the project's rate limit. The project belongs to the caller's account and, if the host
/// names a region, to that region.
fn enter_project(
    cloud: &Cloud,
    order: &RpcRequest,
    caller: &Caller,
    call: &mut Call,
) -> Result<String, RpcError> {
    let name = order.required("ProjectName")?;
    let asked = call.region.clone();
    let mut world = cloud.world();
    let own = world.projects.get(&(caller.account.clone(), name.to_owned()));
    // Without a region in the host, the region is that of the project.
    let region = asked
        .clone()
        .or_else(|| own.map(|project| project.region.clone()));
    check_right(caller, &order.action, region.as_deref().unwrap_or("*"), name)?;
    let project = world
        .projects
        .get_mut(&(caller.account.clone(), name.to_owned()))
        .filter(|project| asked.as_ref().is_none_or(|region| *region == project.region))
        .ok_or_else(|| {
            RpcError::new(
                400,
                "ResourceNotFound",
                "The specified resource project is not found.",
            )
        })?;
    call.region = Some(project.region.clone());
    if project.admit() {
        Ok(name.to_owned())
    } else {
        Err(throttled(cloud, "user flow control"))
    }
}
