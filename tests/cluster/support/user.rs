//! A user of one namespace: a ServiceAccount with a role that Kubernetes ships, such as `edit` or `admin`. What it does
//! passes the authorization of the API server.

use std::sync::Arc;

use imm_harness::until;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};

use super::{PATIENCE, Stage};

/// A user of one namespace.
pub struct User {
    client: Client,
    namespace: String,
}

impl User {
    /// Creates a user with a built-in role in a namespace that exists, and waits until the role is complete.
    pub async fn new(stage: &Arc<Stage>, namespace: &str, role: &str) -> Self {
        let name = format!("user-{role}");
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}});
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}]});
        stage
            .plane
            .apply(&format!("{account}\n---\n{binding}"))
            .await
            .unwrap();
        let path = stage
            .plane
            .service_account_kubeconfig(namespace, &name)
            .await
            .unwrap();
        let config = Kubeconfig::read_from(path).unwrap();
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await;
        let user = Self {
            client: Client::try_from(config.unwrap()).unwrap(),
            namespace: namespace.to_owned(),
        };
        let (who, kind) = (
            format!("--as=system:serviceaccount:{namespace}:{name}"),
            if role == "admin" {
                "immbucketgrants"
            } else {
                "imagescorejobs"
            },
        );
        let ask = ["auth", "can-i", "create", kind, "-n", namespace, &who];
        until(&format!("role {role} to include {kind}"), PATIENCE, || async {
            stage
                .plane
                .kubectl(&ask)
                .await
                .map(|_| ())
                .map_err(|error| error.to_string())
        })
        .await
        .unwrap();
        user
    }

    fn api(&self, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource {
            group: "immops.dev".to_owned(),
            version: "v1alpha1".to_owned(),
            api_version: "immops.dev/v1alpha1".to_owned(),
            kind: kind.to_owned(),
            plural: format!("{}s", kind.to_lowercase()),
        };
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// Creates an object.
    pub async fn create(&self, kind: &str, manifest: &Value) {
        let object: DynamicObject = serde_json::from_value(manifest.clone()).unwrap();
        self.api(kind)
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
    }

    /// Changes an object by a merge patch.
    pub async fn patch(&self, kind: &str, name: &str, change: &Value) {
        self.api(kind)
            .patch(name, &PatchParams::default(), &Patch::Merge(change))
            .await
            .unwrap();
    }

    /// Requests deletion and does not wait.
    pub async fn delete(&self, kind: &str, name: &str) {
        self.api(kind)
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }
}
