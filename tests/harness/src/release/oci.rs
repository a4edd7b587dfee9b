//! The image of a release, as a folder in the OCI layout: one index with an image for each architecture. buildah
//! makes it, which needs no daemon, from the folders of [`super::image_files`]. It contains no time of the build, so
//! its digest is known before it is pushed, and a second build has the same.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::{ARCHITECTURES, VERSION};
use crate::error::{HarnessError, Result};
use crate::plane::clients;

/// The name of the image in buildah's own store.
const NAME: &str = "imm-operator";

/// One image of the index.
#[derive(Debug)]
pub struct Part {
    /// The architecture that the index names.
    pub architecture: String,
    /// The image's configuration.
    pub config: Value,
    /// The files of the layers, the lowest first.
    pub layers: Vec<PathBuf>,
}

/// Builds the Dockerfile's stage `release` for each architecture, from the files in `contexts`, into the folder
/// `output`. Returns the digest of the index. No program of the image runs, so no emulator is needed.
///
/// # Errors
/// The Dockerfile has another form, or buildah fails.
pub async fn build(root: &Path, contexts: &Path, output: &Path) -> Result<String> {
    let place = tempfile::tempdir().map_err(HarnessError::io("creating a folder for the image"))?;
    let dockerfile = place.path().join("Dockerfile");
    let text = read(&root.join("Dockerfile"))?;
    fs::write(&dockerfile, release_stages(&text)?).map_err(HarnessError::io("writing the Dockerfile"))?;
    let revision = revision(root).await?;
    for architecture in ARCHITECTURES {
        let arguments = [
            format!("--platform=linux/{}", architecture.name),
            format!("--build-arg=TARGETARCH={}", architecture.name),
            format!("--build-arg=VERSION={VERSION}"),
            format!("--build-arg=REVISION={revision}"),
            format!("--file={}", dockerfile.display()),
        ];
        let mut build = buildah(&place);
        build.args(["build", "--quiet", "--isolation=chroot", "--target=release"]);
        // Without times, and without the version of buildah.
        build.args(["--timestamp=0", "--identity-label=false", "--manifest", NAME]);
        build.args(arguments).arg(contexts);
        run(build, "buildah build").await?;
    }
    let mut push = buildah(&place);
    push.args(["manifest", "push", "--quiet", "--all", NAME]);
    push.arg(format!("oci:{}", output.display()));
    run(push, "buildah manifest push").await?;
    digest(output)
}

/// Returns buildah with a store of its own in a folder.
fn buildah(place: &TempDir) -> Command {
    let mut buildah = Command::new("buildah");
    buildah.arg("--root").arg(place.path().join("store"));
    buildah.arg("--runroot").arg(place.path().join("run"));
    buildah.args(["--storage-driver", "vfs"]);
    buildah
}

async fn run(command: Command, name: &str) -> Result<()> {
    let none: [&str; 0] = [];
    clients::run(command, name, &none, None).await.map(drop)
}

/// Returns the commit of the sources, or nothing if they are not in a repository.
async fn revision(root: &Path) -> Result<String> {
    if !root.join(".git").exists() {
        return Ok(String::new());
    }
    let mut git = Command::new("git");
    git.current_dir(root);
    let printed = clients::run(git, "git", &["rev-parse", "HEAD"], None).await?;
    Ok(printed.trim().to_owned())
}

/// Returns the stages of a Dockerfile that the stage `release` is made of. Older versions of buildah build every
/// stage that comes before, and those compile.
///
/// # Errors
/// The Dockerfile has another form.
pub fn release_stages(dockerfile: &str) -> Result<String> {
    let ours = dockerfile
        .split_once("\nFROM scratch AS settings\n")
        .and_then(|(_, rest)| rest.split_once("\nFROM settings AS image\n"))
        .filter(|(_, last)| *last == "COPY --from=builder /image/ /\n");
    let (ours, _) =
        ours.ok_or_else(|| wrong("the Dockerfile's last stage is not the settings and the builder's files"))?;
    Ok(format!("FROM scratch AS settings\n{ours}"))
}

/// Returns the digest of the only image in a folder.
///
/// # Errors
/// The folder has another number of images, or cannot be read.
pub fn digest(layout: &Path) -> Result<String> {
    let index = json(&layout.join("index.json"))?;
    let manifests = index.get("manifests").and_then(Value::as_array);
    let [manifest] = manifests.map(Vec::as_slice).unwrap_or_default() else {
        return Err(wrong("the folder of the image has not one image"));
    };
    let digest = manifest.get("digest").and_then(Value::as_str);
    digest
        .map(ToOwned::to_owned)
        .ok_or_else(|| wrong("the image has no digest"))
}

/// Returns the images of the index in a folder.
///
/// # Errors
/// A part is missing or has another form.
pub fn parts(layout: &Path) -> Result<Vec<Part>> {
    let index = json(&blob(layout, &Value::from(digest(layout)?))?)?;
    let manifests = index.get("manifests").and_then(Value::as_array);
    let manifests = manifests.ok_or_else(|| wrong("the image is no index"))?;
    manifests.iter().map(|entry| part(layout, entry)).collect()
}

fn part(layout: &Path, entry: &Value) -> Result<Part> {
    let member = |value: &Value, place: &str| value.pointer(place).cloned().unwrap_or_default();
    let manifest = json(&blob(layout, &member(entry, "/digest"))?)?;
    let layers = member(&manifest, "/layers");
    let layers = layers.as_array().map(Vec::as_slice).unwrap_or_default();
    let layers: Result<Vec<PathBuf>> = layers
        .iter()
        .map(|layer| blob(layout, &member(layer, "/digest")))
        .collect();
    let architecture = member(entry, "/platform/architecture");
    Ok(Part {
        architecture: architecture.as_str().unwrap_or_default().to_owned(),
        config: json(&blob(layout, &member(&manifest, "/config/digest"))?)?,
        layers: layers?,
    })
}

fn blob(layout: &Path, digest: &Value) -> Result<PathBuf> {
    let sum = digest.as_str().and_then(|digest| digest.strip_prefix("sha256:"));
    sum.map(|sum| layout.join("blobs/sha256").join(sum))
        .ok_or_else(|| wrong("the image names a part without a digest"))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(HarnessError::io(format!("reading {}", path.display())))
}

fn json(path: &Path) -> Result<Value> {
    serde_json::from_str(&read(path)?)
        .map_err(|error| wrong(&format!("{} is not JSON: {error}", path.display())))
}

fn wrong(text: &str) -> HarnessError {
    HarnessError::Surprise(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes an image with one layer for an architecture and returns its digest.
    fn image(layout: &Path, content: &str) -> String {
        let blobs = layout.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let write = |name: &str, text: &str| fs::write(blobs.join(name), text).unwrap();
        write("cc", r#"{"architecture":"arm64"}"#);
        write("11", content);
        write(
            "aa",
            r#"{"config":{"digest":"sha256:cc"},"layers":[{"digest":"sha256:11"}]}"#,
        );
        write(
            "ee",
            r#"{"manifests":[{"digest":"sha256:aa","platform":{"architecture":"arm64"}}]}"#,
        );
        let index = r#"{"manifests":[{"digest":"sha256:ee"}]}"#;
        fs::write(layout.join("index.json"), index).unwrap();
        digest(layout).unwrap()
    }

    #[test]
    fn the_parts_of_an_index_are_found_by_their_digests() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(image(folder.path(), "layer"), "sha256:ee");
        let parts = parts(folder.path()).unwrap();
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].architecture, "arm64");
        assert_eq!(parts[0].config["architecture"], "arm64");
        assert_eq!(fs::read_to_string(&parts[0].layers[0]).unwrap(), "layer");
    }

    #[test]
    fn a_folder_with_two_images_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let two = r#"{"manifests":[{"digest":"sha256:ee"},{"digest":"sha256:ff"}]}"#;
        fs::write(folder.path().join("index.json"), two).unwrap();
        assert!(digest(folder.path()).is_err());
    }
}
