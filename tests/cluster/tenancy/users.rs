//! What users may do with each kind, by the roles that Kubernetes ships and the chart completes.

use std::sync::Arc;

use imm_harness::until;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::support::{PATIENCE, Stage, Tenant, chart};

/// The resources of the columns of the README's table.
const COLUMNS: [&str; 3] = ["immbucketgrants", "imagescorejobs", "imagescorereports"];
const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// Returns each role of the README's table, and what its cells say.
fn documented() -> Vec<(String, Vec<String>)> {
    let readme = std::fs::read_to_string(chart().join("README.md")).unwrap();
    let (_, table) = readme.split_once("| role | grants | jobs | reports |").unwrap();
    let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let mut cells = row.trim_end_matches(" |").split(" | ").map(str::to_owned);
        (
            cells.next().unwrap().trim_end_matches('`').to_owned(),
            cells.collect(),
        )
    })
    .collect()
}

/// Asks the API server whether the user with a role may do something, as `kubectl auth can-i --as` does.
async fn may(stage: &Stage, role: &str, namespace: &str, resource: &str, verb: &str) -> bool {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let question = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(format!("user-{role}")),
            resource_attributes: Some(ResourceAttributes {
                group: Some("immops.dev".to_owned()),
                namespace: Some(namespace.to_owned()),
                resource: Some(resource.to_owned()),
                subresource: Some(subresource.to_owned()),
                verb: Some(verb.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(stage.client.clone());
    let answer = reviews.create(&PostParams::default(), &question).await.unwrap();
    answer.status.unwrap().allowed
}

/// Returns where the answers of the API server differ from the README.
async fn differences(stage: &Stage, namespace: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (role, cells) in documented() {
        for (resource, cell) in COLUMNS.iter().zip(&cells) {
            let status = format!("{resource}/status");
            for (word, verb) in READ
                .map(|verb| ("read", verb))
                .into_iter()
                .chain(WRITE.map(|verb| ("write", verb)))
            {
                let expected = cell.split(", ").any(|part| part == word);
                for (place, asked, expected) in [
                    (namespace, *resource, expected),
                    (namespace, &status, false),
                    ("default", resource, false),
                    ("", resource, false),
                ] {
                    if may(stage, &role, place, asked, verb).await != expected {
                        found.push(format!("{role}: {verb} {asked} in \"{place}\" is not {expected}"));
                    }
                }
            }
        }
    }
    found
}

pub async fn check_18_users_may_do_what_the_table_of_the_readme_says(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "users").await;
    let roles = documented();
    assert_eq!(
        roles.iter().map(|(role, _)| role.as_str()).collect::<Vec<_>>(),
        ["view", "edit", "admin"]
    );
    for (role, cells) in &roles {
        assert_eq!(cells.len(), COLUMNS.len(), "{role}: {cells:?}");
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": role, "namespace": tenant.name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": format!("user-{role}")}]});
        tenant.apply(&binding.to_string()).await;
    }
    // A controller of Kubernetes completes the roles, soon after the chart is installed.
    until("the roles to be as documented", PATIENCE, || async {
        let found = differences(&stage, &tenant.name).await;
        if found.is_empty() {
            Ok(())
        } else {
            Err(found.join("\n"))
        }
    })
    .await
    .unwrap();
}
