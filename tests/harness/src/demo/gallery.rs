//! The second job: hundreds of images under a prefix, observed with kubectl, and the ten lowest scores at the end.

use std::process::Command;

use super::stage::{PATIENCE, Stage, unexpected};
use super::steps::reason_is;
use crate::error::{HarnessError, Result};
use crate::plane::clients;
use crate::process::Process;
use crate::tools::Tool;

const GALLERY: [&str; 3] = ["imagescorejob", "analytics", "gallery"];
const WATCH: [&str; 6] = ["get", "isj", "gallery", "-n", "analytics", "-w"];
const RESULTS: [&str; 4] = ["results", "-n", "analytics", "gallery"];
const LOWEST: [&str; 6] = ["results", "-n", "analytics", "gallery", "--lowest", "10"];
const IMAGES: usize = 400;

/// Scores the gallery and shows its progress and results.
pub(super) async fn gallery(stage: &Stage) -> Result<()> {
    stage.create("gallery.yaml").await?;
    let log = stage.cluster.folder().join("watch.log");
    let mut watch = Command::new(Tool::Kubectl.path()?);
    let (name, value) = clients::NO_PREFERENCES;
    watch
        .args(WATCH)
        .env("KUBECONFIG", stage.cluster.kubeconfig())
        .env(name, value);
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
    lowest(stage).await
}

/// Prints the lines of `kubectl get -w` in which the progress changed. Fails if none shows the job in progress.
fn watched(stage: &Stage, log: &str) -> Result<()> {
    let mut lines: Vec<&str> = log.lines().collect();
    lines.dedup_by_key(|line| line.split_whitespace().take(4).collect::<Vec<_>>());
    stage
        .show
        .command(&format!("kubectl {}", WATCH.join(" ")), &lines.join("\n"));
    let done = |line: &&str| {
        let mut columns = line.split_whitespace();
        let (done, all) = columns.nth(3)?.split_once('/')?;
        let done: usize = done.parse().ok()?;
        (all == IMAGES.to_string() && done > 0 && done < IMAGES).then_some(())
    };
    let in_progress = lines.iter().filter_map(done).count();
    stage.check_fact(
        "kubectl showed the job's progress while it ran",
        in_progress > 0,
        || log.to_owned(),
    )
}

/// Prints the score summary of `kubectl describe`. Fails if the histogram does not contain every image.
async fn summary(stage: &Stage) -> Result<()> {
    let [_, namespace, name] = GALLERY;
    let text = stage
        .cluster
        .kubectl(&["describe", "isj", name, "-n", namespace])
        .await?;
    let from = text.lines().skip_while(|line| line.trim() != "Summary:");
    let lines: Vec<&str> = from
        .take_while(|line| !line.trim().starts_with("Events:"))
        .collect();
    stage.show.command(
        &format!("kubectl describe isj {name} -n {namespace}   # summary only"),
        &lines.join("\n"),
    );
    let bins = lines.iter().filter_map(|line| line.trim().parse::<usize>().ok());
    let all: usize = bins.sum();
    stage.check_fact("the histogram contains every image", all == IMAGES, || {
        format!("{all}")
    })
}

/// Returns the standard output of an operator command.
async fn printed(stage: &Stage, arguments: &[&str]) -> Result<String> {
    let mut command = tokio::process::Command::new(&stage.binary);
    command
        .args(arguments)
        .env("KUBECONFIG", stage.cluster.kubeconfig());
    let doing = HarnessError::io("running imm-operator results");
    let output = command.output().await.map_err(doing)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Prints the ten lowest scores and checks all results. Fails if a score is missing or a blurred picture does not score
/// lower.
async fn lowest(stage: &Stage) -> Result<()> {
    let table = printed(stage, &LOWEST).await?;
    stage
        .show
        .command(&format!("imm-operator {}", LOWEST.join(" ")), table.trim_end());
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
    stage.check_fact(
        "each of the 400 images has a score",
        scored.len() == IMAGES,
        || text.clone(),
    )?;
    let place = |name: &str| scored.iter().position(|(_, uri)| uri.ends_with(name));
    for scene in ["harbour", "market", "bridge"] {
        let sharp = place(&format!("gallery/{scene}-sharp.jpg"));
        let blurred = place(&format!("gallery/{scene}-blurred.jpg"));
        if blurred.is_none() || sharp <= blurred {
            return Err(unexpected(format!(
                "{scene}: the blurred picture does not score below its sharp original"
            )));
        }
    }
    stage
        .show
        .fact("blurred pictures score below their sharp originals");
    let reports = ["get", "isr", "-n", "analytics"];
    stage.kubectl(&reports).await.map(|_| ())
}
