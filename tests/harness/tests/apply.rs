//! What the chart and `deploy/kustomize` render, applied with kubectl on a real API server, and what the notes of a
//! release say about its namespace.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failing test panics"
)]

use imm_harness::environment::checkout;
use imm_harness::{ControlPlane, Helm, Options};
use serde_json::{Value, json};

mod rendering;

use rendering::{BOTH, chart, objects, only, render};

const RESTRICTED: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: imm-system, labels: \
                          {pod-security.kubernetes.io/enforce: restricted}}}";

/// Starts a control plane that has the namespace of the release, which enforces Pod Security `restricted`.
async fn plane() -> ControlPlane {
    let options = Options {
        controllers: false,
        nodes: false,
        audit: false,
    };
    let plane = ControlPlane::start(options).await.unwrap();
    plane.apply(RESTRICTED).await.unwrap();
    plane
}

/// Applies text on the server's side, and returns what kubectl says.
async fn apply(plane: &ControlPlane, text: &str) -> Result<String, String> {
    let file = plane.folder().join("applied.yaml");
    std::fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let apply = ["apply", "--server-side", "--validate=strict", "-f", &file];
    plane.kubectl(&apply).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn what_is_rendered_can_be_applied_again_after_a_change() {
    let plane = plane().await;
    let mut pods = 0;
    for major in BOTH {
        for values in [&[][..], &["--set", "image.tag=v2,watchNamespaces={imm-system}"]] {
            let rendered = render(major, values).unwrap();
            for _ in 0..2 {
                apply(&plane, &rendered).await.unwrap();
            }
            pods += 1;
        }
    }
    let query = ["get", "pods", "-n", "imm-system", "-o", "name"];
    let found = plane.kubectl(&query).await.unwrap();
    assert_eq!((found.lines().count(), pods), (2, 4), "{found}");
}

/// Returns the Pod as OpenShift's SCC `restricted-v2` admits it: with a user, a group and an SELinux level of the
/// namespace. The SCC rejects a Pod that names a user or a group itself, or has a volume of another kind.
fn as_on_openshift(mut spec: Value) -> Value {
    let kinds = ["configMap", "downwardAPI", "emptyDir", "projected", "secret"];
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        assert!(kinds.iter().any(|kind| volume.get(kind).is_some()), "{volume}");
    }
    let own = spec.to_string();
    assert!(
        !["runAsUser", "runAsGroup", "fsGroup", "supplementalGroups"]
            .iter()
            .any(|name| own.contains(name)),
        "{own}"
    );
    spec["securityContext"]["fsGroup"] = json!(1_000_660_000);
    spec["securityContext"]["seLinuxOptions"] = json!({"level": "s0:c26,c5"});
    for container in spec["containers"].as_array_mut().unwrap() {
        container["securityContext"]["runAsUser"] = json!(1_000_660_000);
    }
    spec
}

#[tokio::test]
async fn check_16_the_default_meets_pod_security_restricted() {
    let plane = plane().await;
    let rendered = objects(&render(Helm::Four, &[]).unwrap());
    let account = only(&rendered, "ServiceAccount").to_string();
    apply(&plane, &account).await.unwrap();
    let template = &only(&rendered, "Deployment")["spec"]["template"];
    let pod = |name: &str, spec: &Value| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "imm-system"}, "spec": spec})
            .to_string()
    };
    apply(&plane, &pod("operator", &template["spec"])).await.unwrap();
    apply(&plane, &only(&rendered, "Pod").to_string()).await.unwrap();
    let assigned = as_on_openshift(template["spec"].clone());
    apply(&plane, &pod("assigned", &assigned)).await.unwrap();
    let mut open = template["spec"].clone();
    open["containers"][0]["securityContext"] = json!({});
    let refused = apply(&plane, &pod("open", &open)).await.unwrap_err();
    assert!(refused.contains("violates PodSecurity \"restricted"), "{refused}");
}

#[tokio::test]
async fn every_kustomization_and_the_crds_alone_are_accepted() {
    let plane = plane().await;
    let deploy = checkout().join("deploy");
    let file = deploy.join("crds.yaml").display().to_string();
    let apply = ["apply", "--server-side", "--validate=strict"];
    let said = plane
        .kubectl(&[&apply[..], &["-f", &file]].concat())
        .await
        .unwrap();
    assert_eq!(said.lines().count(), 3, "{said}");
    for folder in ["base", "overlays/rrsa", "overlays/high-availability"] {
        let folder = deploy.join("kustomize").join(folder).display().to_string();
        let dry = ["--dry-run=server", "-k", &folder];
        let said = plane.kubectl(&[&apply[..], &dry].concat()).await.unwrap();
        for line in ["namespace/imm-system", "deployment.apps/imm-operator"] {
            assert!(
                said.contains(&format!("{line} serverside-applied")),
                "{folder}: {said}"
            );
        }
        // What it renders is what is stored: a second apply changes nothing.
        plane
            .kubectl(&[&apply[..], &["-k", &folder]].concat())
            .await
            .unwrap();
        let difference = plane.kubectl(&["diff", "--server-side", "-k", &folder]).await;
        assert_eq!(difference.unwrap(), "", "{folder}");
    }
}

#[tokio::test]
async fn the_notes_name_the_label_that_rrsa_needs_and_read_no_namespace() {
    let plane = plane().await;
    let chart = chart();
    // A lookup that is forbidden ends the installation, and who installs may have no right to read namespaces.
    let source = std::fs::read_to_string(chart.join("templates/NOTES.txt")).unwrap();
    assert!(!source.contains("lookup"), "{source}");
    let chart = chart.display().to_string();
    let install = [
        "install",
        "imm-operator",
        &chart,
        "-n",
        "imm-system",
        "--dry-run=server",
    ];
    let label = "kubectl label namespace imm-system pod-identity.alibabacloud.com/injection=on";
    for major in BOTH {
        for (set, named) in [("rrsa.roleName=scores", true), ("rrsa.roleName=", false)] {
            let notes = plane
                .helm(major, &[&install[..], &["--set", set]].concat())
                .await
                .unwrap();
            assert_eq!(notes.contains(label), named, "{set}: {notes}");
        }
    }
}

#[tokio::test]
async fn crds_that_a_release_of_another_name_left_need_force_conflicts_once() {
    let file = checkout().join("deploy/install.yaml").display().to_string();
    let apply = ["apply", "--server-side", "-f", &file];
    for major in BOTH {
        let plane = plane().await;
        let chart = chart().display().to_string();
        let namespace = ["-n", "imm-system"];
        plane
            .helm(major, &[&["install", "scores", &chart], &namespace[..]].concat())
            .await
            .unwrap();
        plane
            .helm(major, &[&["uninstall", "scores"], &namespace[..]].concat())
            .await
            .unwrap();
        let refused = plane.kubectl(&apply).await.unwrap_err().to_string();
        assert!(
            refused.contains(".metadata.labels.app.kubernetes.io/instance"),
            "{refused}"
        );
        let forced = [&apply[..], &["--force-conflicts"]].concat();
        plane.kubectl(&forced).await.unwrap();
        plane.kubectl(&apply).await.unwrap();
    }
}
