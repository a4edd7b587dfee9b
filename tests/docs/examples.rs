//! Each how-to guide has one manifest in `deploy/examples`, which has the objects that the guide shows. The API
//! server checks these manifests in the cluster test of all samples.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use imm_operator::api::GROUP;
use serde_json::Value;

use super::blocks::blocks;
use super::samples::check_object;
use super::{REPOSITORY, find_pages, read, root};

const FOLDER: &str = "deploy/examples";

fn ours(object: &Value) -> bool {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    version.starts_with(GROUP)
}

/// Returns whether a guide shows an object as a user applies it: a placeholder for a name, or for a namespace that
/// another tool sets, is replaced first.
fn applied_as_shown(object: &Value) -> bool {
    ours(object) && object["metadata"]["namespace"].is_string() && object["metadata"]["name"] != "NAME"
}

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

/// Returns what is wrong with the manifest of a guide.
fn faults(guide: &str, manifest: &[Value]) -> Vec<String> {
    let mut faults = Vec::new();
    if !manifest.iter().any(ours) {
        faults.push("no object of our kinds".to_owned());
    }
    for object in manifest.iter().filter(|object| ours(object)) {
        faults.extend(check_object(object).err());
    }
    let shown = blocks(guide).into_iter().flat_map(|block| documents(&block));
    for object in shown.filter(applied_as_shown) {
        if !manifest.contains(&object) {
            faults.push(format!("the guide shows another {}", object["metadata"]["name"]));
        }
    }
    faults
}

/// Returns what is wrong with the section of an example: it shows output, and the guide shows the same, or the
/// manifest has the object that is said to be created.
fn output_faults(section: &str, guide: &str, manifest: &[Value]) -> Vec<String> {
    let created = |object: &Value| {
        let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        format!("{kind}.{GROUP}/{name} created")
    };
    let created: Vec<String> = manifest.iter().map(created).collect();
    let shown: Vec<&str> = section
        .split("```")
        .skip(1)
        .step_by(2)
        .flat_map(|block| block.lines().skip(1))
        .collect();
    let known = |line: &&str| {
        guide.lines().any(|other| other.trim() == *line) || created.iter().any(|other| other == line)
    };
    let mut faults: Vec<String> = shown
        .iter()
        .filter(|line| !known(line))
        .map(ToString::to_string)
        .collect();
    if shown.is_empty() {
        faults.push("no output".to_owned());
    }
    faults
}

#[test]
fn every_example_shows_the_output_of_its_guide() {
    let mut pages = Vec::new();
    find_pages(&root().join("docs/src/how-to"), &mut pages);
    let index = read(format!("{FOLDER}/README.md"));
    let mut sections: Vec<&str> = index.split("\n## ").skip(1).collect();
    for page in pages {
        let name = format!("{}.yaml", page.file_stem().unwrap().to_string_lossy());
        let ending = format!("): `{name}`");
        let place = sections
            .iter()
            .position(|section| section.lines().next().unwrap().ends_with(&ending));
        let section = sections.remove(place.unwrap_or_else(|| panic!("no section of {name}")));
        let manifest = documents(&read(format!("{FOLDER}/{name}")));
        let found = output_faults(section, &read(&page), &manifest);
        assert!(found.is_empty(), "{name}: {}", found.join("\n"));
    }
    assert!(sections.is_empty(), "{sections:?}");
    let guide = "Expected:\n\n   ```text\n   A 1\n   ```\n";
    let grant = documents(&read("deploy/samples/grant.yaml"));
    let of = |shown: &str| output_faults(&format!("x\n\n```text\n{shown}```\n"), guide, &grant).len();
    let created = "immbucketgrant.immops.dev/photos-to-analytics created\n";
    assert_eq!([of("A 1\n"), of(created), of("A 2\n"), of("")], [0, 0, 1, 1]);
}

#[test]
fn every_guide_has_an_example_manifest() {
    let mut pages = Vec::new();
    find_pages(&root().join("docs/src/how-to"), &mut pages);
    // The files from which the manifest of that name is built.
    let files = "fleet-of-buckets".to_owned();
    let mut expected = BTreeSet::from(["README.md".to_owned(), files]);
    for page in pages {
        let name = format!("{}.yaml", page.file_stem().unwrap().to_string_lossy());
        let guide = read(&page);
        let link = format!("]({REPOSITORY}{FOLDER}/{name})");
        assert!(
            guide.contains(&link),
            "{}: no link to {FOLDER}/{name}",
            page.display()
        );
        let found = faults(&guide, &documents(&read(format!("{FOLDER}/{name}"))));
        assert!(found.is_empty(), "{name}: {}", found.join("\n"));
        expected.insert(name);
    }
    let entries = std::fs::read_dir(root().join(FOLDER)).unwrap();
    let present: BTreeSet<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(present, expected);
    assert!(expected.len() > 10, "only {} guides", expected.len());
}

#[test]
fn a_manifest_that_differs_from_its_guide_is_detected() {
    let sample = read("deploy/samples/grant.yaml");
    let guide = format!("```yaml\n{sample}```\n");
    assert_eq!(faults(&guide, &documents(&sample)), Vec::<String>::new());
    let other = sample.replace("cn-hangzhou", "cn-shanghai");
    assert_eq!(faults(&guide, &documents(&other)).len(), 1);
    let invalid = sample.replace("ownerUID", "owner");
    assert_eq!(faults("", &documents(&invalid)).len(), 1);
    assert_eq!(faults("", &documents("kind: Namespace")).len(), 1);
}

/// Runs the script of the CronJob with a kubectl that lists these jobs: name, end, condition Complete and start.
/// Returns the object that it creates, and what it prints.
fn night(jobs: &str) -> (Option<Value>, String) {
    let manifest = documents(&read(format!("{FOLDER}/continuous.yaml")));
    let cron = manifest
        .iter()
        .find(|object| object["kind"] == "CronJob")
        .unwrap();
    let container = &cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0];
    let folder = tempfile::tempdir().unwrap();
    let (kubectl, listed) = (folder.path().join("kubectl"), folder.path().join("listed"));
    let program =
        "#!/bin/sh\nif [ \"$1\" = get ]; then cat \"${0%/*}/listed\"; else cat > \"${0%/*}/created\"; fi\n";
    std::fs::write(&kubectl, program).unwrap();
    std::fs::set_permissions(&kubectl, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(listed, jobs).unwrap();
    let strings = |value: &Value| -> Vec<String> {
        let items = value.as_array().unwrap().iter();
        items.map(|item| item.as_str().unwrap().to_owned()).collect()
    };
    let command = strings(&container["command"]);
    let output = std::process::Command::new(&command[0])
        .args(&command[1..])
        .args(strings(&container["args"]))
        .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let created = std::fs::read_to_string(folder.path().join("created"));
    let created = created.map(|text| documents(&text).remove(0));
    (created.ok(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn no_image_is_scored_by_two_jobs_of_a_series() {
    let after = |jobs: &str| {
        let (created, said) = night(jobs);
        let created = created.unwrap_or_else(|| panic!("{jobs}: {said}"));
        check_object(&created).unwrap_or_else(|fault| panic!("{fault}"));
        created["spec"]["source"]["prefix"]["modifiedAfter"].clone()
    };
    let first = "photos-a|2026-11-01T03:00:00Z|True|2026-11-01T02:15:00Z\n";
    let second = "photos-b|2026-11-02T03:00:00Z|True|2026-11-02T02:15:00Z\n";
    let failed = "photos-c|2026-11-03T03:00:00Z|False|2026-11-03T02:15:00Z\n";
    assert_eq!(after(""), Value::Null);
    assert_eq!(after(&format!("{second}{first}")), "2026-11-02T02:15:00Z");
    assert_eq!(after(&format!("{first}{failed}")), "2026-11-01T02:15:00Z");
    assert_eq!(after(failed), Value::Null);
    // One runs or is suspended, and one has no status yet.
    for open in ["photos-d||False|2026-11-04T02:15:00Z\n", "photos-d|||\n"] {
        let (created, said) = night(&format!("{first}{open}"));
        assert_eq!(created, None, "{open}");
        assert!(said.contains("have not ended: photos-d"), "{said}");
    }
}
