//! The stages of `make test` and of `make test-release`. A failed stage does not stop the others, a stage that cannot run
//! counts as failed, and the last line of output contains the totals.

mod book;
mod counts;
mod image;
mod licences;
mod recipes;
mod release_stages;
mod site;
mod stage;

use std::collections::BTreeSet;
use std::path::Path;

use crate::environment::checkout;
use crate::error::{HarnessError, Result};
use counts::Counts;
use stage::{Outcome, Stage, cargo_test};

/// The stages, in order.
pub const STAGES: [&str; 11] = [
    "tools", "format", "lint", "recipes", "licences", "build", "tests", "plans", "clients", "demo", "image",
];

/// The stages that `make test-release` adds, in order.
pub const RELEASE_STAGES: [&str; 7] = [
    "floor",
    "conclusions",
    "book",
    "browser",
    "release",
    "compare",
    "upgrade",
];

/// Runs the named stages. If none is named, runs those of `make test`, and with `release` those of a release as well.
/// Returns `true` if nothing failed.
pub async fn run(names: &[String], release: bool) -> bool {
    let root = checkout();
    let mut outcomes = Vec::new();
    for stage in STAGES.into_iter().chain(RELEASE_STAGES) {
        let wanted = if names.is_empty() {
            release || STAGES.contains(&stage)
        } else {
            names.iter().any(|name| name == stage)
        };
        if !wanted {
            continue;
        }
        outcomes.push(match stage {
            "tools" => Stage::run(stage, &root, tools).await,
            "format" => Stage::run(stage, &root, format).await,
            "lint" => Stage::run(stage, &root, lint).await,
            "recipes" => Stage::run(stage, &root, recipes::stage).await,
            "licences" => Stage::run(stage, &root, licences::stage).await,
            "build" => Stage::run(stage, &root, build).await,
            "tests" => Stage::run(stage, &root, tests).await,
            "plans" => Stage::run(stage, &root, plans).await,
            "clients" => Stage::run(stage, &root, clients).await,
            "demo" => Stage::run(stage, &root, demo).await,
            "floor" => Stage::run(stage, &root, release_stages::floor).await,
            "conclusions" => Stage::run(stage, &root, release_stages::conclusions).await,
            "book" => Stage::run(stage, &root, book::book).await,
            "browser" => Stage::run(stage, &root, book::browser).await,
            "release" => Stage::run(stage, &root, release_stages::files).await,
            "compare" => Stage::run(stage, &root, release_stages::compare).await,
            "upgrade" => Stage::run(stage, &root, release_stages::upgrade).await,
            _ => Stage::run(stage, &root, image::stage).await,
        });
    }
    report(&outcomes)
}

async fn tools(stage: &mut Stage<'_>) -> Result<()> {
    stage
        .command(stage.root().join("tests/tools/build.sh"), &["all"])
        .await
}

async fn format(stage: &mut Stage<'_>) -> Result<()> {
    stage.command("cargo", &["fmt", "--all", "--check"]).await
}

async fn lint(stage: &mut Stage<'_>) -> Result<()> {
    // `--all-targets` leaves out a test that `cargo test` does not run.
    for what in [["--workspace", "--all-targets"], ["--test", OF_RELEASE]] {
        let strict = [&["clippy", "--locked"][..], &what, &["--", "-D", "warnings"]].concat();
        stage.command("cargo", &strict).await?;
    }
    Ok(())
}

async fn build(stage: &mut Stage<'_>) -> Result<()> {
    stage
        .command("cargo", &["build", "--workspace", "--locked"])
        .await
}

/// Test binaries that run in parallel with all others: they mostly wait (for an answer that never comes, for a lease to
/// expire, for RBAC changes, for a project's rate limit), or would make the sequence of the others the longest.
const PARALLEL: [&str; 6] = ["doctor", "grants", "hostile", "jobs", "leader", "tenancy"];
/// Property tests with tens of thousands of cases: they justify an optimised build and have a stage of their own.
const PLANS: [&str; 2] = ["crash", "grant_plan"];
/// The test that a stage of a release runs.
const OF_RELEASE: &str = "upgrade";
/// A program with tests that wait for minutes, which have a word in their names; a stage of a release runs those.
const WITH_LONG_TESTS: &str = "conclusions";
const LONG_TESTS: &str = "after_minutes";
/// Cases per property in the stage `plans`.
const CASES: &str = "20000";

async fn tests(stage: &mut Stage<'_>) -> Result<()> {
    // Built first, so that the parallel commands do not wait for cargo's build lock.
    stage
        .command("cargo", &["test", "--workspace", "--locked", "--no-run"])
        .await?;
    let mut rest = vec!["--workspace".to_owned(), "--lib".to_owned(), "--bins".to_owned()];
    let elsewhere = [&PARALLEL[..], &PLANS, &[OF_RELEASE, WITH_LONG_TESTS]].concat();
    for program in test_programs(stage.root())? {
        if !elsewhere.contains(&program.as_str()) {
            rest.extend(["--test".to_owned(), program]);
        }
    }
    let mut commands = vec![cargo_test(rest)];
    for program in PARALLEL {
        commands.push(cargo_test(vec!["--test".to_owned(), program.to_owned()]));
    }
    let short = ["--test", WITH_LONG_TESTS, "--", "--skip", LONG_TESTS];
    commands.push(cargo_test(short.map(str::to_owned).to_vec()));
    stage.side_by_side(commands).await
}

async fn plans(stage: &mut Stage<'_>) -> Result<()> {
    let mut what = vec!["--profile".to_owned(), "plans".to_owned()];
    for program in PLANS {
        what.extend(["--test".to_owned(), program.to_owned()]);
    }
    let mut command = cargo_test(what);
    command.env("PROPTEST_CASES", CASES);
    stage.prepared(command).await
}

/// Returns the names of all test binaries: every Rust file, or folder with a main.rs, directly in a tests folder.
fn test_programs(root: &Path) -> Result<BTreeSet<String>> {
    let mut programs = BTreeSet::new();
    for folder in [
        "tests",
        "tests/cluster",
        "tests/emulator/tests",
        "tests/harness/tests",
    ] {
        let files =
            std::fs::read_dir(root.join(folder)).map_err(HarnessError::io(format!("reading {folder}")))?;
        for file in files {
            let path = file
                .map_err(HarnessError::io(format!("reading {folder}")))?
                .path();
            let program = path.extension().is_some_and(|e| e == "rs") || path.join("main.rs").is_file();
            let name = path.file_stem().filter(|_| program);
            programs.extend(name.map(|name| name.to_string_lossy().into_owned()));
        }
    }
    Ok(programs)
}

async fn clients(stage: &mut Stage<'_>) -> Result<()> {
    let emulator = built("imm-emulator")?;
    stage
        .command(stage.root().join("tests/sdk/run.sh"), &[&emulator])
        .await
}

async fn demo(stage: &mut Stage<'_>) -> Result<()> {
    // Runs in its own process, as with `make demo`, so that output and exit code are tested too.
    let harness = built("imm-harness")?;
    stage.command(harness, &["demo"]).await
}

/// Returns the path of a binary built by the build stage, beside this binary in the target folder. Fails if it is
/// missing.
fn built(name: &str) -> Result<String> {
    let here = std::env::current_exe().map_err(HarnessError::io("locating the target folder"))?;
    let path = here.with_file_name(name);
    if path.is_file() {
        return Ok(path.display().to_string());
    }
    Err(HarnessError::Surprise(format!(
        "{} is missing: the build stage failed",
        path.display()
    )))
}

/// Prints the table and, as the last line, the totals. Returns `true` if nothing failed.
fn report(outcomes: &[Outcome]) -> bool {
    println!("\n{:<18}{:>8}{:>8}{:>8}", "stage", "seconds", "passed", "failed");
    let mut sum = Counts::default();
    for Outcome {
        name,
        seconds,
        counts: Counts { passed, failed },
        gaps: _,
    } in outcomes
    {
        println!("{name:<18}{seconds:>8}{passed:>8}{failed:>8}");
        sum.passed += passed;
        sum.failed += failed;
    }
    for (name, gap) in outcomes
        .iter()
        .flat_map(|of| of.gaps.iter().map(|gap| (of.name, gap)))
    {
        println!("\nNOT CHECKED by {name}: {gap}");
    }
    println!("\n{} passed, {} failed", sum.passed, sum.failed);
    sum.failed == 0
}
