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
    let mut samples = ["grant", "job"].map(|name| {
        yaml(&std::fs::read_to_string(checkout().join(format!("deploy/samples/{name}.yaml"))).unwrap())
    });
    // The sample waits for the demo's emulator only; an example that is copied needs the default.
    let wait = samples[1]["spec"].as_object_mut().unwrap().remove("grantWait");
    assert_eq!(wait, Some(serde_json::json!({"settleSeconds": 2})));
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

/// Returns the links of the chart's README, which a release packs: Artifact Hub shows it, and has no file beside it.
fn links() -> (String, Vec<String>) {
    let readme = std::fs::read_to_string(chart().join("README.md")).unwrap();
    let targets = readme.split("](").skip(1);
    let links = targets
        .map(|rest| rest.split(')').next().unwrap().to_owned())
        .collect();
    (readme, links)
}

#[test]
fn the_packed_readme_leads_to_pages_that_exist() {
    let (_, links) = links();
    assert!(links.len() >= 3, "{links:?}");
    for link in links {
        let place = link.strip_prefix("https://github.com/imm-operator/imm-operator/blob/main/");
        let Some(place) = place else {
            assert!(link.starts_with("https://") || link.starts_with('#'), "{link}");
            continue;
        };
        let (file, anchor) = place.split_once('#').unwrap_or((place, ""));
        assert!(checkout().join(file).is_file(), "{link}");
        let page = std::fs::read_to_string(checkout().join(file)).unwrap();
        let headings = page.lines().filter(|line| line.starts_with('#'));
        let anchors = headings.map(|line| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .replace(' ', "-")
        });
        assert!(
            anchor.is_empty() || anchors.into_iter().any(|found| found == anchor),
            "{link}"
        );
    }
}

#[test]
fn what_a_release_packs_does_not_say_that_there_is_none() {
    let (mut texts, _) = links();
    for file in ["values.yaml", "templates/NOTES.txt"] {
        texts.push_str(&std::fs::read_to_string(chart().join(file)).unwrap());
    }
    let texts = texts.split_whitespace().collect::<Vec<_>>().join(" ");
    for phrase in [
        "published yet",
        "until a version is released",
        "is published",
        "is released",
    ] {
        assert!(!texts.contains(phrase), "{phrase}");
    }
    assert!(texts.contains("oci://ghcr.io/imm-operator/charts/imm-operator"));
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
