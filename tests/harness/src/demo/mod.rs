//! `make demo`: the documented recipe done by two custom resources through a real API server, and undone without a
//! trace. Any surprise ends it with the reason.

mod difference;
mod gallery;
mod show;
mod stage;
mod steps;

use std::path::PathBuf;

use crate::environment::tools_folder;
use crate::error::{HarnessError, Result};
use crate::process::describe;
use show::Show;
use stage::{BUCKET, Stage, surprise};

/// How the demo is run.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// The `imm-operator` binary.
    pub operator: PathBuf,
    /// Leaves everything running at the end, until Ctrl-C.
    pub keep: bool,
}

/// Plays the recipe.
pub async fn run(options: DemoOptions) -> Result<()> {
    let show = Show::new();
    show.step("A cloud with two accounts, and a Kubernetes API server without nodes.");
    let mut stage = Stage::set(show, options.operator).await?;
    stage
        .show
        .step("Account B owns a bucket whose policy already holds two statements of somebody else.");
    let before = steps::bucket(&stage)?;
    stage
        .show
        .step("The chart is installed; by default the operator can read no Secret.");
    steps::install(&stage).await?;
    stage
        .show
        .step("Each tenant stores its cloud keys and opens that one Secret to the operator.");
    steps::keys(&stage).await?;
    stage
        .show
        .step("The operator starts, with a token of the chart's ServiceAccount and no other rights.");
    stage
        .show
        .line("  waiting for its readiness probe (at most 30 s) ...");
    stage.start_operator().await?;
    stage
        .show
        .step("Account A applies a job before its grant exists: it waits, and costs nothing.");
    steps::job_waits(&stage).await?;
    stage
        .show
        .step("Account B applies the grant: one statement more, everything else untouched.");
    steps::grant(&stage, &before).await?;
    stage.show.step("The job goes on by itself: one call, one score.");
    steps::score(&stage).await?;
    stage
        .show
        .step("A second job scores 400 pictures below a prefix, sharp and spoilt, at the project's pace.");
    gallery::gallery(&stage).await?;
    stage.show.step("Everything at one glance.");
    steps::overview(&stage).await?;
    stage
        .show
        .step("The same manifests are applied again: nothing happens.");
    steps::apply_again(&stage).await?;
    stage
        .show
        .step("The grant is deleted: the policy is what it was.");
    steps::delete(&stage, &before).await?;
    steps::no_secret(&stage).await?;
    if options.keep {
        kept(&stage).await?;
    }
    stage
        .show
        .step("Stopping: the operator finishes what it does, the rest is ended and removed.");
    finish(stage).await
}

/// Leaves the stage to the user.
async fn kept(stage: &Stage) -> Result<()> {
    stage
        .show
        .step("Everything stays until Ctrl-C, with the grant applied once more. In another terminal:");
    stage.apply("grant.yaml").await?;
    // With our kubectl first on the path: there may be none, or an older one.
    let (config, tools) = (stage.plane.kubeconfig().display(), tools_folder()?);
    let line = format!(
        "
export KUBECONFIG={config} PATH={}:$PATH
",
        tools.display()
    );
    stage.show.line(&line);
    stage.show.line("kubectl get imm -A -o wide");
    stage.show.line(&format!(
        "{} results -n analytics gallery",
        stage.binary.display()
    ));
    stage.show.line("kubectl explain immbucketgrant.spec.access");
    stage.show.line(&format!(
        "curl -s {}/-/buckets/{BUCKET}/policy",
        stage.cloud.url()
    ));
    tokio::signal::ctrl_c()
        .await
        .map_err(HarnessError::io("waiting for Ctrl-C"))
}

async fn finish(stage: Stage) -> Result<()> {
    if let Some(operator) = stage.operator {
        let status = operator.terminate().await?;
        if !status.success() {
            return Err(surprise(format!(
                "the operator ended with {} after SIGTERM",
                describe(status)
            )));
        }
        stage.show.fact("the operator drained and ended with exit code 0");
    }
    stage.plane.stop()?;
    stage.cloud.shutdown().await;
    stage.show.step("Done.");
    Ok(())
}
