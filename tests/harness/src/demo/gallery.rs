//! The second job: hundreds of images below a prefix, watched as a user would, with the worst of them at the end.

use std::process::Command;

use super::stage::{PATIENCE, Stage, surprise};
use super::steps::reason_is;
use crate::error::{HarnessError, Result};
use crate::process::Process;
use crate::tools::Tool;

const GALLERY: [&str; 3] = ["imagescorejob", "analytics", "gallery"];
const WATCH: [&str; 6] = ["get", "isj", "gallery", "-n", "analytics", "-w"];
const RESULTS: [&str; 4] = ["results", "-n", "analytics", "gallery"];
const WORST: [&str; 6] = ["results", "-n", "analytics", "gallery", "--worst", "10"];
const IMAGES: usize = 400;

/// Scores the gallery, and shows how it went.
pub(super) async fn gallery(stage: &Stage) -> Result<()> {
    stage.apply("gallery.yaml").await?;
    let log = stage.plane.folder().join("watch.log");
    let mut watch = Command::new(Tool::Kubectl.path()?);
    watch.args(WATCH).env("KUBECONFIG", stage.plane.kubeconfig());
    let watch = Process::spawn("kubectl get -w", &mut watch, &log)?;
    stage
        .show
        .wait("the gallery to be scored", PATIENCE, || {
            reason_is(stage, GALLERY, "Complete", "Completed")
        })
        .await?;
    watch.kill()?;
    watched(stage, &watch.log())?;
    summary(stage).await?;
    worst(stage).await
}

/// The lines of `kubectl get -w` in which something moved.
fn watched(stage: &Stage, log: &str) -> Result<()> {
    let mut lines: Vec<&str> = log.lines().collect();
    lines.dedup_by_key(|line| line.split_whitespace().take(4).collect::<Vec<_>>());
    stage
        .show
        .command(&format!("kubectl {}", WATCH.join(" ")), &lines.join("\n"));
    let done = |line: &&str| {
        let mut words = line.split_whitespace();
        let (done, all) = words.nth(3)?.split_once('/')?;
        let done: usize = done.parse().ok()?;
        (all == IMAGES.to_string() && done > 0 && done < IMAGES).then_some(())
    };
    let under_way = lines.iter().filter_map(done).count();
    stage.demand(
        "the progress was to be seen while it went on",
        under_way > 0,
        || log.to_owned(),
    )
}

/// What `kubectl describe` says of the scores, the histogram included.
async fn summary(stage: &Stage) -> Result<()> {
    let [_, namespace, name] = GALLERY;
    let text = stage
        .plane
        .kubectl(&["describe", "isj", name, "-n", namespace])
        .await?;
    let from = text.lines().skip_while(|line| line.trim() != "Summary:");
    let lines: Vec<&str> = from
        .take_while(|line| !line.trim().starts_with("Events:"))
        .collect();
    stage.show.command(
        &format!("kubectl describe isj {name} -n {namespace}   # the end of it"),
        &lines.join("\n"),
    );
    let bins = lines.iter().filter_map(|line| line.trim().parse::<usize>().ok());
    let all: usize = bins.sum();
    stage.demand("every image is in the histogram", all == IMAGES, || {
        format!("{all}")
    })
}

/// What the operator's program prints.
async fn printed(stage: &Stage, arguments: &[&str]) -> Result<String> {
    let mut command = tokio::process::Command::new(&stage.binary);
    command
        .args(arguments)
        .env("KUBECONFIG", stage.plane.kubeconfig());
    let doing = HarnessError::io("running imm-operator results");
    let output = command.output().await.map_err(doing)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The ten worst, and all results for the checks.
async fn worst(stage: &Stage) -> Result<()> {
    let table = printed(stage, &WORST).await?;
    stage
        .show
        .command(&format!("imm-operator {}", WORST.join(" ")), table.trim_end());
    let text = printed(stage, &RESULTS).await?;
    let rows = text
        .lines()
        .skip(1)
        .map(|line| line.split(',').collect::<Vec<_>>());
    let scored = rows.filter_map(|row| match row.as_slice() {
        [_, uri, score, ""] => Some((score.parse::<f64>().ok()?, (*uri).to_owned())),
        _ => None,
    });
    let mut scored: Vec<(f64, String)> = scored.collect();
    scored.sort_by(|one, other| one.0.total_cmp(&other.0));
    stage.demand(
        "each of the 400 images has its score",
        scored.len() == IMAGES,
        || text.clone(),
    )?;
    let place = |name: &str| scored.iter().position(|(_, uri)| uri.ends_with(name));
    for scene in ["harbour", "market", "bridge"] {
        let sharp = place(&format!("gallery/{scene}-sharp.jpg"));
        let blurred = place(&format!("gallery/{scene}-blurred.jpg"));
        if blurred.is_none() || sharp <= blurred {
            return Err(surprise(format!(
                "{scene}: a blurred picture is not below its sharp original"
            )));
        }
    }
    stage
        .show
        .fact("blurred pictures score below their sharp originals");
    let folder = ["get", "isr", "-n", "analytics"];
    stage.kubectl(&folder).await.map(|_| ())
}
