//! Runs many plans on all processors and compares each with the run without faults.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use imm_operator::ports::CloudErrorKind;

use super::fault::{CRASHES, Call, Fault, Plan};
use super::play::{Run, play};
use super::scenario::SCENARIOS;

/// One of this many plans is run: all in an optimised build, one in 11 in a debug build to keep the time short. Both
/// numbers are primes, so that all kinds of plans occur.
const EACH: usize = if cfg!(debug_assertions) { 11 } else { 1 };
/// One of this many plans is observed for hours at its end.
const QUIET: usize = 53;

/// Plans of one kind, and the extra writes that they may cause.
pub struct Family {
    pub name: &'static str,
    pub plans: Vec<Plan>,
    /// Allowed policy writes beyond those of the run without faults.
    pub repeats: usize,
    /// Whether the final state must equal that of the run without faults.
    pub same_end: bool,
}

/// The runs without faults, in the order of the scenarios.
pub static REFERENCES: LazyLock<Vec<Run>> = LazyLock::new(|| {
    let plans = (0..SCENARIOS.len()).map(|scenario| Plan::new(scenario, &[]));
    plans.map(|plan| on_paused_time(play(&plan, true))).collect()
});

pub fn on_paused_time<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(future)
}

/// Runs a plan and returns its violations as an error.
pub fn judge(plan: &Plan, repeats: usize, same_end: bool, quiet: bool) -> Result<(), String> {
    let run = on_paused_time(play(plan, quiet));
    let reference = &REFERENCES[plan.scenario];
    let mut wrong = run.broken;
    // Once OSS has rejected a public policy, grants omit their `ram:PassRole` statement.
    let public =
        |(_, fault): &(usize, Fault)| matches!(fault, Fault::Cloud(CloudErrorKind::PublicAccessBlocked, _));
    let same_end = same_end && !plan.faults.iter().any(public);
    if same_end && run.end != reference.end {
        wrong.push(format!("the final state is\n{}\nnot\n{}", run.end, reference.end));
    }
    let (writes, without) = (run.counts.policy_writes, reference.counts.policy_writes);
    if writes > without + repeats {
        wrong.push(format!(
            "I8: {writes} policy writes, {without} without the faults"
        ));
    }
    // A statement that a process did not see because the process had just started was removed by no other writer. With
    // stale reads this is a known limit: a write that was answered and not yet read back leaves no time in the ledger.
    let old_answers = plan.scenario().tag() == "X3";
    let crashes = |(_, fault): &(usize, Fault)| CRASHES.contains(fault);
    if !old_answers && plan.faults.iter().all(crashes) && run.drifts > reference.drifts {
        wrong.push(format!("{} statements are reported as removed", run.drifts));
    }
    // The reverse of I2: only a change between our last read and our write is undone.
    if let [(at, Fault::Rival(_))] = plan.faults.as_slice() {
        let in_between = reference.calls[0].get(at - 1) == Some(&Call::Write) && run.rival_has_edited;
        // Writes of these scenarios are rejected, so that they undo nothing.
        let refused = matches!(plan.scenario().tag(), "S16" | "X9");
        if (run.lost > 0) != in_between && !(refused && run.lost == 0) {
            wrong.push(format!("I2: {} foreign changes were undone", run.lost));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n"))
    }
}

/// Runs a family of plans for grants.
pub fn run(family: &Family) {
    run_plans(family.name, &family.plans, |plan, quiet| {
        judge(plan, family.repeats, family.same_end, quiet)
    });
}

/// Held by the tests that use all processors, one at a time; counts the plans so far and their time.
pub static TURN: Mutex<(usize, Duration)> = Mutex::new((0, Duration::ZERO));

/// Runs a family, one at a time so that each has all processors, and prints the number of plans and the time.
pub fn run_plans(name: &str, plans: &[Plan], judge: impl Fn(&Plan, bool) -> Result<(), String> + Sync) {
    let mut turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let started = Instant::now();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let work = || {
        loop {
            let index = next.fetch_add(EACH, Ordering::Relaxed);
            let Some(plan) = plans.get(index) else {
                return;
            };
            let quiet = index.is_multiple_of(QUIET);
            if let Err(wrong) = judge(plan, quiet) {
                failures.lock().unwrap().push((index, wrong));
            }
        }
    };
    std::thread::scope(|scope| {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
    let seconds = started.elapsed();
    let played = plans.len().div_ceil(EACH);
    turn.0 += played;
    turn.1 += seconds;
    // Written directly to stdout, because the test harness captures what a passing test prints.
    writeln!(
        std::io::stdout(),
        "plans: {played:>6} {}, {:.1} s (so far {} in {:.1} s)",
        name,
        seconds.as_secs_f64(),
        turn.0,
        turn.1.as_secs_f64()
    )
    .unwrap();
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    // The first three failures in full, and the names of up to 97 more.
    let listed = failures.iter().take(100).enumerate().map(|(n, (index, wrong))| {
        let name = format!("PLAN='{}'", plans[*index]);
        if n < 3 { format!("{name}\n{wrong}") } else { name }
    });
    let listed: Vec<String> = listed.collect();
    assert!(
        failures.is_empty(),
        "{} of {played} plans failed:\n{}",
        failures.len(),
        listed.join("\n")
    );
}
