//! Projects: get, create, list, and attaching a bucket of the same account.
//! None of these calls is billed.

use serde_json::{Value, json};

use super::{check_right, enter_project};
use crate::answer::{Answer, RpcError};
use crate::cloud::Cloud;
use crate::ledger::Call;
use crate::rpc::RpcRequest;
use crate::seed::ProjectSeed;
use crate::world::callers::Caller;
use crate::world::projects::Project;

fn shown(project: &Project) -> Value {
    let created = project
        .created
        .clone()
        .unwrap_or_else(|| "2024-01-01T00:00:00.000000000Z".to_owned());
    json!({
        "ProjectName": project.name, "ServiceRole": project.service_role, "Description": project.description,
        "TemplateId": "", "CreateTime": created, "UpdateTime": created,
        "ProjectQueriesPerSecond": project.queries_per_second, "EngineConcurrency": project.concurrency,
        "ProjectMaxDatasetCount": 1_000_000_000, "DatasetMaxBindCount": 10, "DatasetMaxFileCount": 100_000_000,
        "DatasetMaxEntityCount": 10_000_000_000_i64, "DatasetMaxRelationCount": 100_000_000_000_i64,
        "DatasetMaxTotalFileSize": 90_000_000_000_000_000_i64, "DatasetCount": 0, "FileCount": 0, "TotalFileSize": 0,
    })
}

pub(super) fn get_project(
    cloud: &Cloud,
    order: &RpcRequest,
    caller: &Caller,
    call: &mut Call,
) -> Result<Answer, RpcError> {
    let name = enter_project(cloud, order, caller, call)?;
    let world = cloud.world();
    let project = world.projects.get(&(caller.account.clone(), name)).map(shown);
    Ok(Answer::json(
        &json!({"RequestId": call.request_id, "Project": project}),
    ))
}

fn is_name(name: &str) -> bool {
    let first = name.bytes().next();
    name.len() <= 128
        && first.is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Returns the regions of the service. Needs no permission (IMM page `ListRegions`).
pub(super) fn list_regions(order: &RpcRequest, call: &Call) -> Result<Answer, RpcError> {
    let name = match order.required("AcceptLanguage")? {
        "zh-CN" => "华东1（杭州）",
        "ja" => "中国（杭州）",
        _ => "China (Hangzhou)",
    };
    let region = json!({"RegionId": "cn-hangzhou", "LocalName": name});
    Ok(Answer::json(
        &json!({"RequestId": call.request_id, "Regions": [region]}),
    ))
}

pub(super) fn create_project(
    cloud: &Cloud,
    order: &RpcRequest,
    caller: &Caller,
    call: &mut Call,
) -> Result<Answer, RpcError> {
    let name = order.required("ProjectName")?.to_owned();
    let region = call.region.clone().ok_or_else(|| {
        RpcError::new(
            400,
            "InvalidArgument",
            "A new project takes its region from the host, imm.{region}.aliyuncs.com.",
        )
    })?;
    check_right(caller, "CreateProject", &region, &name)?;
    if !is_name(&name) {
        return Err(RpcError::new(
            400,
            "InvalidArgument",
            "ProjectName is not a valid project name.",
        ));
    }
    let mut world = cloud.world();
    let id = (caller.account.clone(), name.clone());
    if world.projects.contains_key(&id) {
        return Err(RpcError::new(
            400,
            "ResourceAlreadyExists",
            "The specified resource project already exists.",
        ));
    }
    let service_role = order.parameter("ServiceRole").map(str::to_owned);
    let mut project = Project::new(ProjectSeed {
        name,
        region,
        account: caller.account.clone(),
        service_role,
        ..ProjectSeed::default()
    });
    order
        .parameter("Description")
        .unwrap_or_default()
        .clone_into(&mut project.description);
    project.created = Some(cloud.clock.now().to_string());
    let body = json!({"RequestId": call.request_id, "Project": shown(&project)});
    world.projects.insert(id, project);
    Ok(Answer::json(&body))
}

pub(super) fn list_projects(
    cloud: &Cloud,
    order: &RpcRequest,
    caller: &Caller,
    call: &mut Call,
) -> Result<Answer, RpcError> {
    check_right(caller, "ListProjects", call.region.as_deref().unwrap_or("*"), "*")?;
    let most = match order.parameter("MaxResults").unwrap_or("0").parse::<usize>() {
        Ok(0) => 100,
        Ok(count) if count <= 200 => count,
        Ok(_) | Err(_) => {
            return Err(RpcError::new(
                400,
                "InvalidArgument",
                "MaxResults must be between 0 and 200.",
            ));
        }
    };
    let (prefix, after) = (
        order.parameter("Prefix").unwrap_or(""),
        order.parameter("NextToken").unwrap_or(""),
    );
    let world = cloud.world();
    let mut found: Vec<&Project> = world
        .projects
        .values()
        .filter(|project| project.account == caller.account)
        .filter(|project| {
            call.region
                .as_ref()
                .is_none_or(|region| *region == project.region)
        })
        .filter(|project| project.name.starts_with(prefix) && project.name.as_str() > after)
        .take(most + 1)
        .collect();
    let more = found.len() > most;
    found.truncate(most);
    let next = if more {
        found
            .last()
            .map(|project| project.name.clone())
            .unwrap_or_default()
    } else {
        String::new()
    };
    let projects: Vec<Value> = found.into_iter().map(shown).collect();
    Ok(Answer::json(
        &json!({"RequestId": call.request_id, "Projects": projects, "NextToken": next}),
    ))
}

pub(super) fn attach_bucket(
    cloud: &Cloud,
    order: &RpcRequest,
    caller: &Caller,
    call: &mut Call,
) -> Result<Answer, RpcError> {
    let name = enter_project(cloud, order, caller, call)?;
    let bucket = order.required("OSSBucket")?;
    let mut world = cloud.world();
    let region = match world.buckets.get(bucket) {
        Some(found) if found.owner == caller.account => found.region.clone(),
        Some(_) => {
            return Err(RpcError::new(
                403,
                "AccessDenied",
                "The bucket belongs to another account.",
            ));
        }
        None => {
            return Err(RpcError::new(
                400,
                "ResourceNotFound",
                "The specified resource bucket is not found.",
            ));
        }
    };
    if let Some(project) = world.projects.get_mut(&(caller.account.clone(), name)) {
        if project.region != region {
            return Err(RpcError::new(
                400,
                "InvalidArgument",
                "The bucket is not in the project's region.",
            ));
        }
        if project.attached.iter().any(|attached| attached == bucket) {
            return Err(RpcError::new(
                400,
                "ResourceAlreadyExists",
                "The bucket is attached already.",
            ));
        }
        project.attached.push(bucket.to_owned());
    }
    Ok(Answer::json(&json!({"RequestId": call.request_id})))
}
