//! `make demo`: runs Alibaba Cloud's cross-account procedure with two custom resources through a real API server, and
//! reverts it completely. Any unexpected result ends the demo with the reason. `CLUSTER=current` uses a cluster of
//! the user.

mod cluster;
mod difference;
mod gallery;
mod removal;
mod show;
mod stage;
mod steps;

use std::path::PathBuf;

use crate::current::CurrentCluster;
use crate::environment::tools_folder;
use crate::error::{HarnessError, Result};
use crate::operator::Operator;
use crate::process::describe;
use show::Show;
use stage::{BUCKET, Stage, unexpected};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The demo's options.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// The `imm-operator` binary.
    pub operator: PathBuf,
    /// Keeps everything running at the end, until Ctrl-C.
    pub keep: bool,
    /// Runs on a cluster of the user instead of a control plane of its own.
    pub current: Option<CurrentContext>,
}

/// The cluster of the current context of a kubeconfig.
#[derive(Clone, Debug, Default)]
pub struct CurrentContext {
    /// The kubeconfig; `None` is the one that kubectl uses.
    pub kubeconfig: Option<PathBuf>,
    /// The name of the context as the user typed it out, which allows one that is not a local cluster's.
    pub typed: Option<String>,
    /// The mark of an earlier demo, whose objects are removed instead of a new demo.
    pub remove: Option<String>,
}

/// Runs the demo. Fails at the first unexpected result.
pub async fn run(options: DemoOptions) -> Result<()> {
    let show = Show::new();
    let Some(current) = options.current else {
        show.step("Starting an emulated cloud with two accounts and a Kubernetes API server without nodes.");
        let mut stage = Stage::start(show, options.operator, None).await?;
        play(&mut stage, options.keep).await?;
        stage
            .show
            .step("Stopping the operator, the control plane and the emulator.");
        stop_operator(&stage.show, stage.operator.take()).await?;
        return finish(stage).await;
    };
    let CurrentContext {
        kubeconfig,
        typed,
        remove,
    } = current;
    let current = CurrentCluster::open(kubeconfig.as_deref(), typed.as_deref()).await?;
    if let Some(mark) = remove {
        show.step(&format!(
            "Removing from the cluster what the demo {mark} created."
        ));
        return removal::remove_marked(&show, &current.with_mark(&mark)?).await;
    }
    show.step(
        "Starting an emulated cloud with two accounts, for the Kubernetes cluster of the current context.",
    );
    let mut stage = Stage::start(show, options.operator, Some(current)).await?;
    let mut ends = Ends::listen()?;
    let played = tokio::select! {
        // With --keep, both end by Ctrl-C.
        biased;
        played = play(&mut stage, options.keep) => played,
        () = ends.received() => Err(HarnessError::Interrupted),
    };
    if let Err(error) = &played {
        stage.show.line(&format!("  error: {error}"));
    }
    stage
        .show
        .step("Removing from the cluster what the demo created, and stopping the operator and the emulator.");
    let removed = removal::remove(&mut stage).await;
    finish(stage).await?;
    removed.and(played)
}

/// The signals with which the user, the terminal or the system ends the demo. None of them ends the process any more.
struct Ends([Signal; 4]);

impl Ends {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(HarnessError::io("waiting for the end of the demo"));
        Ok(Self([
            listen(SignalKind::interrupt())?,
            listen(SignalKind::quit())?,
            listen(SignalKind::hangup())?,
            listen(SignalKind::terminate())?,
        ]))
    }

    /// Returns when one of them is received.
    async fn received(&mut self) {
        let Self([interrupt, quit, hangup, terminate]) = self;
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = quit.recv() => (),
            _ = hangup.recv() => (),
            _ = terminate.recv() => (),
        }
    }
}

/// Plays all steps.
async fn play(stage: &mut Stage, keep: bool) -> Result<()> {
    stage.show.step(
        "Reading the bucket policy of the bucket owner account: it already has two unmanaged statements.",
    );
    let before = steps::bucket(stage)?;
    stage
        .show
        .step("Installing the chart: by default the operator can read no Secret.");
    steps::install(stage).await?;
    stage
        .show
        .step("Storing each tenant's AccessKey pair in a Secret and granting the operator access to that Secret only.");
    steps::keys(stage).await?;
    stage
        .show
        .step("Starting the operator with a token of the chart's ServiceAccount and no other permissions.");
    stage
        .show
        .line("  waiting for the operator's readiness probe (at most 30 s) ...");
    stage.start_operator().await?;
    stage
        .show
        .step("Applying a job in the grantee account before its grant exists: the job waits and makes no API calls.");
    steps::job_waits(stage).await?;
    stage.show.step(
        "Applying the grant in the bucket owner account: it adds one statement and changes nothing else.",
    );
    steps::grant(stage, &before).await?;
    stage
        .show
        .step("Scoring the first image: the job continues automatically.");
    steps::score(stage).await?;
    stage
        .show
        .step("Scoring 400 images under a prefix with a second job, at the project's rate limit.");
    gallery::gallery(stage).await?;
    stage.show.step("Listing all objects and events.");
    steps::overview(stage).await?;
    stage
        .show
        .step("Applying the same manifests again: nothing changes.");
    steps::apply_again(stage).await?;
    stage
        .show
        .step("Deleting the grant: the original policy is restored.");
    steps::delete(stage, &before).await?;
    steps::no_secret(stage).await?;
    if keep {
        kept(stage).await?;
    }
    Ok(())
}

/// Keeps everything running until Ctrl-C and prints commands to try.
async fn kept(stage: &Stage) -> Result<()> {
    stage
        .show
        .step("Applied the grant again. Everything keeps running until Ctrl-C. In another terminal:");
    stage.create("grant.yaml").await?;
    // The built kubectl comes first on the PATH: the user may have none, or an older one.
    let (config, tools) = (stage.cluster.kubeconfig().display(), tools_folder()?);
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

/// Ends the operator, if it was started.
async fn stop_operator(show: &Show, operator: Option<Operator>) -> Result<()> {
    if let Some(operator) = operator {
        let status = operator.terminate().await?;
        if !status.success() {
            return Err(unexpected(format!(
                "the operator exited with {} after SIGTERM",
                describe(status)
            )));
        }
        show.fact("the operator finished its work and exited with code 0");
    }
    Ok(())
}

async fn finish(stage: Stage) -> Result<()> {
    stage.cluster.stop()?;
    stage.cloud.shutdown().await;
    stage.show.step("Done.");
    Ok(())
}
