//! Who owns the CRDs of a release, on a real API server: CRDs that kubectl applied first, and upgrades that would delete
//! them. Also checks that the API server accepts what every set of values renders.

#![expect(clippy::unwrap_used, reason = "a failing test panics")]

use std::path::{Path, PathBuf};

use imm_harness::environment::checkout;
use imm_harness::{ControlPlane, HarnessError, Helm, Options};

mod rendering;

use rendering::{chart, objects, render};

const PLANE: Options = Options {
    controllers: false,
    nodes: false,
    audit: false,
};
const RELEASE: [&str; 3] = ["imm-operator", "-n", "imm-system"];

/// Runs a command of Helm on the release with a chart, and returns its output, also if it fails.
async fn helm(
    plane: &ControlPlane,
    major: Helm,
    verb: &str,
    chart: &Path,
    more: &[&str],
) -> Result<String, String> {
    let chart = chart.display().to_string();
    let args = [&[verb, RELEASE[0], chart.as_str()], &RELEASE[1..], more].concat();
    plane.helm(major, &args).await.map_err(|error| {
        if let HarnessError::Command { output, .. } = error {
            output
        } else {
            error.to_string()
        }
    })
}

async fn crds(plane: &ControlPlane) -> usize {
    let found = plane.kubectl(&["get", "crd", "-o", "name"]).await.unwrap();
    found.lines().filter(|name| name.ends_with(".immops.dev")).count()
}

/// Returns a copy of the chart whose CRDs have another description of a column.
fn changed_chart(folder: &Path, description: &str) -> PathBuf {
    let place = folder.join(description).join("imm-operator");
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    let copied = std::process::Command::new("cp")
        .arg("-R")
        .arg(chart())
        .arg(&place)
        .status();
    assert!(copied.unwrap().success());
    let file = place.join("templates/crds/immbucketgrants.yaml");
    let old = std::fs::read_to_string(&file).unwrap();
    let new = old.replace("Whether the desired state is reached", description);
    assert_ne!(old, new);
    std::fs::write(file, new).unwrap();
    place
}

#[tokio::test]
async fn check_20_crds_of_kubectl_need_one_forced_upgrade_as_documented() {
    let readme = std::fs::read_to_string(chart().join("README.md")).unwrap();
    for flag in ["--take-ownership", "--force-conflicts"] {
        assert!(readme.contains(flag), "{flag} is not documented");
    }
    let plane = ControlPlane::start(PLANE).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    plane
        .kubectl(&["create", "namespace", "imm-system"])
        .await
        .unwrap();
    let definitions = checkout().join("crds").display().to_string();
    plane.kubectl(&["apply", "-f", &definitions]).await.unwrap();

    let refused = helm(&plane, Helm::Four, "install", &chart(), &[])
        .await
        .unwrap_err();
    assert!(refused.contains("cannot be imported"), "{refused}");
    helm(&plane, Helm::Four, "install", &chart(), &["--take-ownership"])
        .await
        .unwrap();
    let changed = changed_chart(folder.path(), "first");
    let refused = helm(&plane, Helm::Four, "upgrade", &changed, &[])
        .await
        .unwrap_err();
    assert!(refused.contains("kubectl-client-side-apply"), "{refused}");
    helm(&plane, Helm::Four, "upgrade", &changed, &["--force-conflicts"])
        .await
        .unwrap();
    let changed = changed_chart(folder.path(), "second");
    helm(&plane, Helm::Four, "upgrade", &changed, &[]).await.unwrap();
}

#[tokio::test]
async fn check_11_stored_crds_are_established_structural_and_small() {
    let plane = ControlPlane::start(PLANE).await.unwrap();
    let definitions = checkout().join("crds").display().to_string();
    plane
        .kubectl(&["apply", "--server-side", "--validate=strict", "-f", &definitions])
        .await
        .unwrap();
    for name in ["immbucketgrants", "imagescorejobs", "imagescorereports"] {
        let crd = format!("crd/{name}.immops.dev");
        plane
            .kubectl(&["wait", "--for=condition=Established", &crd, "--timeout=600s"])
            .await
            .unwrap();
        let query = ["get", &crd, "-o", "json", "--show-managed-fields"];
        let stored = plane.kubectl(&query).await.unwrap();
        let stored: serde_json::Value = serde_json::from_str(&stored).unwrap();
        let conditions = stored["status"]["conditions"].as_array().unwrap();
        let status = |kind: &str| {
            let found = conditions.iter().find(|condition| condition["type"] == kind);
            found.map(|condition| condition["status"].as_str().unwrap())
        };
        assert_eq!(status("NamesAccepted"), Some("True"), "{name}");
        assert_eq!(status("NonStructuralSchema"), None, "{name}: {conditions:?}");
        let bytes = stored.to_string().len();
        assert!((5_000..100_000).contains(&bytes), "{name}: {bytes} bytes");
    }
    // A schema that is not structural has the condition, so its absence means something.
    let wrong = serde_json::json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "wrongs.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"kind": "Wrong", "plural": "wrongs"}, "versions": [{"name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"properties": {"a": {"type": "string"}}}}}}}]}});
    let refused = plane.apply(&wrong.to_string()).await.unwrap_err();
    assert!(refused.to_string().contains("must not be empty"), "{refused}");
}

#[tokio::test]
async fn a_grant_of_the_release_is_added_after_the_crds() {
    let plane = ControlPlane::start(PLANE).await.unwrap();
    plane
        .kubectl(&["create", "namespace", "imm-system"])
        .await
        .unwrap();
    let sample = std::fs::read_to_string(checkout().join("deploy/samples/grant.yaml")).unwrap();
    let grant: serde_json::Value =
        serde_saphyr::from_str(&sample.replace("namespace: media", "namespace: imm-system")).unwrap();
    let as_object = format!("extraObjects={}", serde_json::json!([grant]));
    let as_text = format!("extraObjects={}", serde_json::json!([sample]));
    for major in [Helm::Three, Helm::Four] {
        for set in [&as_object, &as_text] {
            let refused = helm(&plane, major, "install", &chart(), &["--set-json", set])
                .await
                .unwrap_err();
            assert!(refused.contains("then add them with helm upgrade"), "{refused}");
            // Without a cluster it is rendered for tools that wait for the CRDs.
            assert!(render(major, &["--set-json", set]).is_ok());
        }
    }
    helm(&plane, Helm::Four, "install", &chart(), &[]).await.unwrap();
    helm(
        &plane,
        Helm::Four,
        "upgrade",
        &chart(),
        &["--set-json", &as_object],
    )
    .await
    .unwrap();
    let found = plane
        .kubectl(&["get", "immbucketgrants", "-n", "imm-system", "-o", "name"])
        .await
        .unwrap();
    assert!(found.contains("photos-to-analytics"), "{found}");
}

#[tokio::test]
async fn an_upgrade_deletes_the_crds_only_if_it_says_so() {
    let plane = ControlPlane::start(PLANE).await.unwrap();
    for namespace in ["imm-system", "media"] {
        plane.kubectl(&["create", "namespace", namespace]).await.unwrap();
    }
    for major in [Helm::Three, Helm::Four] {
        let run = async |verb, set| helm(&plane, major, verb, &chart(), &["--set", set]).await;
        let notes = run("install", "crds.keep=false").await.unwrap();
        assert!(notes.contains("an upgrade with crds.enabled=false"), "{notes}");
        assert_eq!(crds(&plane).await, 3);
        // The Deployment has a new name in some of them.
        for set in [
            "crds.enabled=false",
            "crds.enabled=false,crds.keep=false",
            "crds.enabled=false,nameOverride=other",
            "crds.enabled=false,crds.keep=true,fullnameOverride=newname",
        ] {
            let refused = run("upgrade", set).await.expect_err(set);
            assert!(refused.contains("every grant and job"), "{refused}");
            assert_eq!(crds(&plane).await, 3);
        }
        // The CRDs of this release are no matter of another one beside it.
        let second = |verb| {
            let set = "crds.enabled=false,aggregatedRoles.enabled=false,watchNamespaces={media}";
            let chart = chart().display().to_string();
            let args = [verb, "second", &chart, "-n", "imm-system", "--set", set].map(str::to_owned);
            let plane = &plane;
            async move { plane.helm(major, &args.each_ref().map(String::as_str)).await }
        };
        for verb in ["install", "upgrade"] {
            second(verb).await.unwrap();
        }
        plane
            .helm(major, &["uninstall", "second", "-n", "imm-system"])
            .await
            .unwrap();
        run("upgrade", "crds.enabled=false,crds.allowDeletion=true")
            .await
            .unwrap();
        // One that still terminates would be counted below, and be gone in the next step.
        let gone = [
            "wait",
            "--for=delete",
            "crd/immbucketgrants.immops.dev",
            "crd/imagescorejobs.immops.dev",
            "crd/imagescorereports.immops.dev",
            "--timeout=600s",
        ];
        plane.kubectl(&gone).await.unwrap();

        // Those that are kept first survive.
        for set in ["crds.keep=false", "crds.keep=true", "crds.enabled=false"] {
            run("upgrade", set).await.unwrap();
            assert_eq!(crds(&plane).await, 3, "{set}");
        }
        plane
            .helm(major, &[&["uninstall"], &RELEASE[..]].concat())
            .await
            .unwrap();
        assert_eq!(crds(&plane).await, 3);
        let definitions = checkout().join("crds").display().to_string();
        plane
            .kubectl(&["delete", "-f", &definitions, "--timeout=600s"])
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn the_api_server_accepts_what_every_set_of_values_renders() {
    let plane = ControlPlane::start(PLANE).await.unwrap();
    for namespace in [
        "imm-system",
        "media",
        "analytics",
        "policy-copies",
        "monitoring",
        "no",
        "1234",
        "1e3",
    ] {
        plane.kubectl(&["create", "namespace", namespace]).await.unwrap();
    }
    for file in std::fs::read_dir(chart().join("ci")).unwrap() {
        let values = file.unwrap().path().display().to_string();
        let rendered = objects(&render(Helm::Four, &["--values", &values]).unwrap());
        // A dry run stores nothing, and a Pod is refused without its ServiceAccount: install.rs has the Pod of `helm
        // test`.
        let accepted = |object: &&serde_json::Value| {
            object["apiVersion"] != "monitoring.coreos.com/v1" && object["kind"] != "Pod"
        };
        let manifest: Vec<String> = rendered
            .iter()
            .filter(accepted)
            .map(ToString::to_string)
            .collect();
        assert!(manifest.len() > 4, "{values}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.yaml");
        std::fs::write(&path, manifest.join("\n---\n")).unwrap();
        let path = path.display().to_string();
        let apply = [
            "apply",
            "--server-side",
            "--validate=strict",
            "--dry-run=server",
            "-f",
            &path,
        ];
        plane
            .kubectl(&apply)
            .await
            .unwrap_or_else(|error| unreachable!("{values}: {error}"));
    }
}
