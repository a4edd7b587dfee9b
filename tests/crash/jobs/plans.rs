//! Families of plans for jobs, and the final state that each plan must reach.

use std::sync::LazyLock;

use imm_operator::ports::{CloudErrorKind, KubeError};

use super::super::fault::{
    CRASHES, Call, Effect, FROZEN_JOBS, Fault, HICCUPS, Plan, cloud_failures, kube_failures, no_keys,
};
use super::super::runner::{on_paused_time, run_plans};
use super::super::scenario::SCENARIOS as GRANTS;
use super::SCENARIOS;
use super::play::{Run, play};

/// The runs without faults.
static REFERENCES: LazyLock<Vec<Run>> = LazyLock::new(|| {
    let plans = (0..SCENARIOS.len()).map(|n| Plan::new(GRANTS.len() + n, &[]));
    plans.map(|plan| on_paused_time(play(&plan, true))).collect()
});

/// Returns whether a fault legitimately changes the outcome of an item or of the whole job.
pub fn decides(fault: Fault) -> bool {
    use CloudErrorKind::{AccessDenied, NoSuchBucket, NoSuchProject, RequestRejected, WrongRegion};
    let Fault::Cloud(kind, _) = fault else {
        return false;
    };
    matches!(
        kind,
        AccessDenied | NoSuchBucket | NoSuchProject | RequestRejected | WrongRegion
    )
}

/// Runs a plan and returns its violations as an error.
pub fn judge(plan: &Plan, quiet: bool) -> Result<(), String> {
    let run = on_paused_time(play(plan, quiet));
    let reference = &REFERENCES[plan.scenario - GRANTS.len()];
    let mut wrong = run.broken;
    let decided = plan.faults.iter().any(|(_, fault)| decides(*fault));
    if !decided && run.end != reference.end {
        wrong.push(format!("the final state is\n{}\nnot\n{}", run.end, reference.end));
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n"))
    }
}

fn at_each_effect<F: IntoIterator<Item = Fault>>(faults: impl Fn(Call) -> F) -> Vec<Plan> {
    let mut plans = Vec::new();
    for (scenario, reference) in REFERENCES.iter().enumerate() {
        for (index, call) in reference.calls[0].iter().enumerate() {
            let of_call = faults(*call).into_iter();
            plans.extend(of_call.map(|fault| Plan::new(GRANTS.len() + scenario, &[(index + 1, fault)])));
        }
    }
    plans
}

#[test]
fn without_a_fault_every_job_finishes_and_does_not_change() {
    let mut wrong = Vec::new();
    for (scenario, reference) in SCENARIOS.iter().zip(REFERENCES.iter()) {
        println!("{}: {} effects", scenario.name, reference.calls[0].len());
        if !reference.broken.is_empty() {
            wrong.push(format!("{}: {}", scenario.name, reference.broken.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_job_that_is_stopped_at_any_effect_ends_the_same() {
    let plans = at_each_effect(|_| CRASHES.into_iter().chain(HICCUPS));
    assert!(plans.len() > 2_000, "only {} plans", plans.len());
    run_plans("jobs: single faults", &plans, judge);
}

/// One of this many pairs is run: a prime, so that every position occurs.
const EACH_PAIR: usize = 61;

#[test]
fn a_job_that_is_stopped_twice_ends_the_same() {
    let singles = at_each_effect(|_| CRASHES);
    let mut plans = Vec::new();
    let mut turn = 0_usize;
    for first in &singles {
        for second in singles.iter().filter(|second| second.scenario == first.scenario) {
            turn += 1;
            if turn.is_multiple_of(EACH_PAIR) {
                let faults = [first.faults.as_slice(), second.faults.as_slice()].concat();
                plans.push(Plan::new(first.scenario, &faults));
            }
        }
    }
    assert!(plans.len() > 500, "only {} plans", plans.len());
    run_plans("jobs: double crashes", &plans, judge);
}

#[test]
fn whatever_the_api_server_answers_the_job_ends_the_same() {
    let plans = at_each_effect(|call| match call {
        Call::List | Call::Kube | Call::GetJob | Call::Store => kube_failures().collect(),
        Call::Keys => no_keys().collect(),
        Call::Cloud | Call::Write | Call::Score | Call::BestEffort => Vec::new(),
    });
    let lies = |fault: Fault| matches!(fault, Fault::Kube(KubeError::NotFound, _));
    let plans: Vec<Plan> = plans.into_iter().filter(|p| !lies(p.faults[0].1)).collect();
    assert!(plans.len() > 300, "only {} plans", plans.len());
    run_plans("jobs: answers of the API server", &plans, judge);
}

#[test]
fn a_lost_answer_to_a_status_about_unstored_results_costs_nothing() {
    let plans = at_each_effect(|call| (call == Call::Store).then_some(Fault::RefusedThenUnanswered));
    assert!(plans.len() > 50, "only {} plans", plans.len());
    run_plans("jobs: rejected, then unanswered", &plans, judge);
}

/// Returns the faults of a billed call; a call that took effect has no answer, or an answer from a proxy.
fn of_calls() -> Vec<Fault> {
    let fits = |fault: &Fault| {
        matches!(
            fault,
            Fault::Cloud(CloudErrorKind::Unavailable | CloudErrorKind::Unanswered, _)
                | Fault::Cloud(_, Effect::None)
        )
    };
    let no_project = Fault::Cloud(CloudErrorKind::NoSuchProject, Effect::None);
    cloud_failures(false).filter(fits).chain([no_project]).collect()
}

#[test]
fn whatever_the_cloud_answers_a_job_loses_and_duplicates_nothing() {
    let plans = at_each_effect(|call| {
        if matches!(call, Call::Cloud | Call::Score) {
            of_calls()
        } else {
            Vec::new()
        }
    });
    assert!(plans.len() > 1_000, "only {} plans", plans.len());
    run_plans("jobs: answers of the cloud", &plans, judge);
}

#[test]
fn a_stale_read_of_a_job_costs_only_time() {
    let plans = at_each_effect(|call| (call == Call::GetJob).then_some(Fault::Behind(1)));
    assert!(plans.len() > 20, "only {} plans", plans.len());
    run_plans("jobs: stale reads", &plans, judge);
}

#[test]
fn a_lost_watch_event_of_a_job_is_recovered() {
    let marks = REFERENCES.iter().map(|reference| 1..=reference.marks).enumerate();
    let plans: Vec<Plan> = marks
        .flat_map(|(n, marks)| marks.map(move |at| Plan::new(GRANTS.len() + n, &[(at, Fault::Hidden)])))
        .collect();
    assert!(plans.len() > SCENARIOS.len(), "only {} plans", plans.len());
    run_plans("jobs: lost watch events", &plans, judge);
}

#[test]
fn a_process_that_freezes_while_another_runs_its_job_loses_and_duplicates_nothing() {
    let plans = at_each_effect(|call| {
        if matches!(call, Call::Store | Call::Score) {
            FROZEN_JOBS.to_vec()
        } else {
            Vec::new()
        }
    });
    assert!(plans.len() > 100, "only {} plans", plans.len());
    run_plans("jobs: frozen processes", &plans, judge);
}
