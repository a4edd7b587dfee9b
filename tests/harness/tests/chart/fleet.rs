//! The example of a fleet of buckets: its guide shows the files, and Kustomize builds the manifest from them.

use imm_harness::environment::checkout;

use crate::kustomize::kustomized;
use crate::rendering::objects;

const FILES: [&str; 4] = [
    "base/grant.yaml",
    "base/kustomization.yaml",
    "buckets/photos-hangzhou/kustomization.yaml",
    "applicationset.yaml",
];

#[test]
fn kustomize_builds_the_manifest_of_the_fleet_from_the_files_of_the_guide() {
    let read = |path: &str| std::fs::read_to_string(checkout().join(path)).unwrap();
    let guide = read("docs/src/how-to/grants/fleet-of-buckets.md");
    for file in FILES {
        let text = read(&format!("deploy/examples/fleet-of-buckets/{file}"));
        assert!(guide.contains(&format!("```yaml\n{text}```\n")), "{file}");
    }
    let built = kustomized(&checkout().join("deploy/examples/fleet-of-buckets/buckets/photos-hangzhou"));
    assert_eq!(built, objects(&read("deploy/examples/fleet-of-buckets.yaml")));
}
