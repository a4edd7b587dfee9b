//! Everything `make test` runs, stage after stage. A stage that fails does not keep the others from running, a stage
//! that cannot run has failed, and the last line is always the sum.

mod counts;
mod image;
mod stage;

use std::path::Path;

use crate::environment::{cache_folder, checkout};
use crate::error::{HarnessError, Result};
use counts::Counts;
use stage::{Outcome, Stage};
use tokio::process::Command;

/// The version of cargo-deny that is compiled once and kept.
const CARGO_DENY: &str = "0.20.2";

/// Runs every stage; true when nothing failed.
pub async fn run() -> bool {
    let root = checkout();
    let mut outcomes = Vec::new();
    outcomes.push(Stage::run("tools", &root, tools).await);
    outcomes.push(Stage::run("format", &root, format).await);
    outcomes.push(Stage::run("lint", &root, lint).await);
    outcomes.push(Stage::run("licences", &root, licences).await);
    outcomes.push(Stage::run("build", &root, build).await);
    outcomes.push(Stage::run("tests", &root, tests).await);
    outcomes.push(Stage::run("official clients", &root, clients).await);
    outcomes.push(Stage::run("demo", &root, demo).await);
    outcomes.push(Stage::run("image", &root, image::stage).await);
    report(&outcomes)
}

async fn tools(stage: &mut Stage<'_>) -> Result<()> {
    stage.command(Path::new("tests/tools/build.sh"), &["all"]).await
}

async fn format(stage: &mut Stage<'_>) -> Result<()> {
    stage.command("cargo", &["fmt", "--all", "--check"]).await
}

async fn lint(stage: &mut Stage<'_>) -> Result<()> {
    let strict = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    stage.command("cargo", &strict).await
}

async fn licences(stage: &mut Stage<'_>) -> Result<()> {
    let home = cache_folder()?.join(format!("cargo-deny-{CARGO_DENY}"));
    let program = home.join("bin/cargo-deny");
    if !program.is_file() {
        let mut install = Command::new("cargo");
        install.args([
            "install",
            "--locked",
            "--quiet",
            "cargo-deny",
            "--version",
            CARGO_DENY,
            "--root",
        ]);
        install.arg(&home);
        stage.prepared(install).await?;
    }
    stage
        .command(&program, &["--locked", "check", "licenses", "bans", "sources"])
        .await
}

async fn build(stage: &mut Stage<'_>) -> Result<()> {
    stage
        .command("cargo", &["build", "--workspace", "--locked"])
        .await
}

async fn tests(stage: &mut Stage<'_>) -> Result<()> {
    stage
        .command("cargo", &["test", "--workspace", "--locked", "--no-fail-fast"])
        .await
}

async fn clients(stage: &mut Stage<'_>) -> Result<()> {
    let emulator = built(stage, "imm-emulator")?;
    stage.command(Path::new("tests/sdk/run.sh"), &[&emulator]).await
}

async fn demo(stage: &mut Stage<'_>) -> Result<()> {
    // Its own process, as `make demo` runs it: what it prints and how it ends are part of it.
    let harness = built(stage, "imm-harness")?;
    stage.command(harness, &["demo"]).await
}

/// Path of a binary that the build stage made.
fn built(stage: &Stage<'_>, name: &str) -> Result<String> {
    let path = stage.root().join("target/debug").join(name);
    if path.is_file() {
        return Ok(path.display().to_string());
    }
    Err(HarnessError::Surprise(format!(
        "{} is missing: the build stage failed",
        path.display()
    )))
}

/// Prints the table and, as the last line, the sum.
fn report(outcomes: &[Outcome]) -> bool {
    println!("\n{:<18}{:>8}{:>8}{:>8}", "stage", "seconds", "passed", "failed");
    let mut sum = Counts::default();
    for Outcome {
        name,
        seconds,
        counts: Counts { passed, failed },
    } in outcomes
    {
        println!("{name:<18}{seconds:>8}{passed:>8}{failed:>8}");
        sum.passed += passed;
        sum.failed += failed;
    }
    println!("\n{} passed, {} failed", sum.passed, sum.failed);
    sum.failed == 0
}
