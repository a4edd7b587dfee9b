//! Chart.yaml: what Artifact Hub shows equals what the chart installs.

use serde_json::Value;

use super::{chart, objects, render};
use crate::rendering::render_values;
use imm_harness::Helm;
use imm_harness::environment::checkout;

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

fn annotations() -> (Value, Value) {
    let chart = yaml(&std::fs::read_to_string(chart().join("Chart.yaml")).unwrap());
    let annotations = chart["annotations"].clone();
    (chart, annotations)
}

fn annotation(name: &str) -> Value {
    let (_, annotations) = annotations();
    yaml(annotations[format!("artifacthub.io/{name}")].as_str().unwrap())
}

#[test]
fn the_crds_of_artifact_hub_are_those_of_the_chart() {
    let rendered = objects(&render(Helm::Four, &[]).unwrap());
    let crds = rendered
        .iter()
        .filter(|object| object["kind"] == "CustomResourceDefinition");
    let described = annotation("crds");
    let described = described.as_array().unwrap();
    let mut count = 0;
    for crd in crds {
        count += 1;
        let names = &crd["spec"]["names"];
        let entry = described
            .iter()
            .find(|entry| entry["kind"] == names["kind"])
            .unwrap();
        assert_eq!(entry["name"], crd["metadata"]["name"]);
        assert_eq!(entry["version"], crd["spec"]["versions"][0]["name"]);
        assert!(entry["description"].as_str().unwrap().len() > 20);
    }
    assert_eq!(described.len(), count);
}

#[test]
fn the_examples_of_artifact_hub_are_the_samples() {
    let samples = ["grant", "job"].map(|name| {
        yaml(&std::fs::read_to_string(checkout().join(format!("deploy/samples/{name}.yaml"))).unwrap())
    });
    assert_eq!(annotation("crdsExamples"), Value::from(samples.to_vec()));
}

#[test]
fn check_8_the_image_of_artifact_hub_is_the_default() {
    let rendered = objects(&render(Helm::Four, &[]).unwrap());
    let deployment = rendered
        .iter()
        .find(|object| object["kind"] == "Deployment")
        .unwrap();
    let images = annotation("images");
    assert_eq!(images.as_array().unwrap().len(), 1);
    assert_eq!(
        images[0]["image"],
        deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    );
}

#[test]
fn the_gitops_samples_install_this_version_with_values_that_the_chart_accepts() {
    let read = |name: &str| std::fs::read_to_string(checkout().join("deploy/gitops").join(name)).unwrap();
    let (chart, _) = annotations();
    let application = yaml(&read("argocd-application.yaml"));
    let source = &application["spec"]["source"];
    assert_eq!(source["targetRevision"], chart["version"]);
    let flux: Vec<Value> = serde_saphyr::from_multiple(&read("flux-helmrelease.yaml")).unwrap();
    assert_eq!(flux[0]["spec"]["ref"]["tag"], chart["version"]);
    let place = format!(
        "oci://{}/{}",
        source["repoURL"].as_str().unwrap(),
        source["chart"].as_str().unwrap()
    );
    assert_eq!(flux[0]["spec"]["url"], place);
    for values in [&source["helm"]["valuesObject"], &flux[1]["spec"]["values"]] {
        let rendered = render_values(Helm::Four, &values.to_string(), &[]);
        assert!(rendered.is_ok(), "{values}: {rendered:?}");
    }
}

#[test]
fn icon_and_links_exist() {
    let (chart, annotations) = annotations();
    let icon = chart["icon"].as_str().unwrap();
    let file = icon.split_once("/main/").unwrap().1;
    assert!(checkout().join(file).is_file(), "{icon}");
    for link in annotation("links").as_array().unwrap() {
        let url = link["url"].as_str().unwrap();
        if let Some((_, file)) = url.split_once("/blob/main/") {
            assert!(checkout().join(file).exists(), "{url}");
        }
    }
    assert!(!annotation("changes").as_array().unwrap().is_empty());
    assert_eq!(
        annotations["artifacthub.io/operatorCapabilities"],
        "Deep Insights"
    );
}

#[test]
fn check_5_crds_can_be_left_out_and_are_kept_by_default() {
    let crds = |set: &[&str]| -> Vec<Value> {
        let rendered = objects(&render(Helm::Four, set).unwrap());
        let chosen = rendered.into_iter();
        chosen
            .filter(|object| object["kind"] == "CustomResourceDefinition")
            .collect()
    };
    let kept = |object: &Value| object["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep";
    assert_eq!(crds(&["--set", "crds.enabled=false"]).len(), 0);
    let released = crds(&["--set", "crds.keep=false"]);
    assert!(released.len() == 3 && !released.iter().any(kept), "{released:?}");
    let default = crds(&[]);
    assert!(default.len() == 3 && default.iter().all(kept), "{default:?}");
    // Helm never upgrades what it finds in the folder `crds` of a chart.
    for major in super::BOTH {
        assert_eq!(super::helm(major, &["show", "crds"]).unwrap().trim(), "");
    }
}
