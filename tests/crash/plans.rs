//! Families of plans for grants, and the final state that each plan must reach.

use std::collections::BTreeSet;

use super::fault::{
    BEHIND, CRASHES, Call, FROZEN, Fault, HICCUPS, LATE, Plan, TWICE, cloud_failures, kube_failures, no_keys,
};
use super::play::play;
use super::rival::Edit;
use super::runner::{Family, REFERENCES, judge, on_paused_time, run};
use super::scenario::SCENARIOS;

/// A fault that never strikes, so that the next fault applies to the next process.
const NEVER: (usize, Fault) = (0, Fault::Before);

/// Returns a plan for each effect of each process of each scenario, and each fault that `faults` returns for it.
fn at_each_effect<F: IntoIterator<Item = Fault>>(faults: impl Fn(Call) -> F) -> Vec<Plan> {
    let mut plans = Vec::new();
    for (scenario, reference) in REFERENCES.iter().enumerate() {
        for (process, calls) in reference.calls.iter().enumerate() {
            for (index, call) in calls.iter().enumerate() {
                for fault in faults(*call) {
                    let mut places = vec![NEVER; process];
                    places.push((index + 1, fault));
                    plans.push(Plan::new(scenario, &places));
                }
            }
        }
    }
    plans
}

fn only(call: Call, of: Call, faults: &[Fault]) -> Vec<Fault> {
    if call == of { faults.to_vec() } else { Vec::new() }
}

fn family(name: &'static str, repeats: usize, plans: Vec<Plan>) -> Family {
    Family {
        name,
        plans,
        repeats,
        same_end: true,
    }
}

#[test]
fn without_a_fault_every_scenario_comes_to_rest_and_stays_there() {
    let mut wrong = Vec::new();
    for (scenario, reference) in SCENARIOS.iter().zip(REFERENCES.iter()) {
        let effects: usize = reference.calls.iter().map(Vec::len).sum();
        println!("{}: {effects} effects, {:?}", scenario.name, reference.counts);
        if !reference.broken.is_empty() || reference.counts.policy_writes != scenario.writes {
            wrong.push(format!("{}: {:#?}", scenario.name, reference.broken));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let tags: BTreeSet<&str> = SCENARIOS.iter().map(super::scenario::Scenario::tag).collect();
    assert_eq!(tags.len(), SCENARIOS.len(), "two scenarios have the same number");
}

#[test]
fn a_crash_after_any_effect_changes_nothing_but_the_time_it_takes() {
    let plans = at_each_effect(|_| CRASHES.into_iter().chain(HICCUPS));
    assert!(plans.len() > 3_000, "only {} plans", plans.len());
    run(&family("single faults", 1, plans));
}

#[test]
fn a_late_write_leaves_no_statement_without_an_owner() {
    let plans = at_each_effect(|call| only(call, Call::Write, &LATE));
    assert!(plans.len() > 100, "only {} plans", plans.len());
    // The late write itself, and two writes that correct what it undid.
    run(&family("late writes", 3, plans));
}

#[test]
fn a_second_crash_during_recovery_changes_nothing_either() {
    // Every pair would take too long. Each run takes the same sample, spread evenly over all pairs of positions.
    let singles = at_each_effect(|_| CRASHES);
    let mut plans = Vec::new();
    let mut turn = 0_usize;
    for first in &singles {
        for second in singles.iter().filter(|second| second.scenario == first.scenario) {
            turn += 1;
            if turn.is_multiple_of(EACH_PAIR) {
                plans.push(Plan {
                    scenario: first.scenario,
                    faults: [first.faults.as_slice(), second.faults.as_slice()].concat(),
                });
            }
        }
    }
    assert!(plans.len() > 1_000, "only {} plans", plans.len());
    run(&family("double crashes", 2, plans));
}

/// One of this many pairs is run: a prime, so that every position occurs.
const EACH_PAIR: usize = 53;

#[test]
fn whatever_the_api_server_answers_the_end_is_the_same() {
    let plans = at_each_effect(|call| match call {
        Call::List | Call::Kube => kube_failures().collect(),
        Call::Keys => no_keys().collect(),
        Call::Cloud | Call::Write | Call::GetJob | Call::Store | Call::Score | Call::BestEffort => Vec::new(),
    });
    assert!(plans.len() > 1_000, "only {} plans", plans.len());
    run(&family("answers of the API server", 1, plans));
}

#[test]
fn whatever_the_cloud_answers_the_end_is_the_same() {
    let plans = at_each_effect(|call| match call {
        Call::Cloud => cloud_failures(false).collect(),
        Call::Write => cloud_failures(true).chain(TWICE).collect(),
        Call::List
        | Call::Kube
        | Call::Keys
        | Call::GetJob
        | Call::Store
        | Call::Score
        | Call::BestEffort => Vec::new(),
    });
    assert!(plans.len() > 1_000, "only {} plans", plans.len());
    run(&family("answers of the cloud", 2, plans));
}

#[test]
fn a_stale_list_costs_only_time() {
    let plans = at_each_effect(|call| only(call, Call::List, &BEHIND));
    assert!(plans.len() > 100, "only {} plans", plans.len());
    // A statement that a stale list says is no longer wanted is removed, and restored when the other grant is listed
    // again.
    run(&family("stale lists", 2, plans));
}

#[test]
fn a_user_who_edits_between_any_two_effects_changes_nothing_but_the_time_it_takes() {
    let plans = at_each_effect(|_| [Fault::Edited]);
    assert!(plans.len() > 500, "only {} plans", plans.len());
    run(&family("edits", 1, plans));
}

#[test]
fn a_lost_watch_event_is_recovered() {
    let marks = REFERENCES.iter().map(|reference| 1..=reference.marks).enumerate();
    let plans: Vec<Plan> = marks
        .flat_map(|(scenario, marks)| marks.map(move |at| Plan::new(scenario, &[(at, Fault::Hidden)])))
        .collect();
    assert!(plans.len() > SCENARIOS.len(), "only {} plans", plans.len());
    run(&family("lost watch events", 0, plans));
}

#[test]
fn a_process_frozen_in_a_write_during_a_failover_undoes_nothing_for_good() {
    let plans = at_each_effect(|call| only(call, Call::Write, &FROZEN));
    assert!(plans.len() > 100, "only {} plans", plans.len());
    run(&family("frozen processes", 3, plans));
}

#[test]
fn foreign_changes_are_kept_unless_they_fall_between_our_last_read_and_our_write() {
    let mut plans = at_each_effect(|call| {
        if matches!(call, Call::Cloud | Call::Write) {
            Edit::ALL.map(Fault::Rival).to_vec()
        } else {
            Vec::new()
        }
    });
    // These scenarios are about a foreign statement, so it must stay.
    plans.retain(|plan| !["S14", "S15"].contains(&plan.scenario().tag()));
    assert!(plans.len() > 1_000, "only {} plans", plans.len());
    run(&Family {
        same_end: false,
        ..family("foreign changes", 2, plans)
    });
}

/// Runs the plan that the environment variable names; without one, a plan made here, to check that names resolve.
#[test]
fn replay() {
    #[expect(clippy::disallowed_methods, reason = "the environment names the plan to run")]
    let named = std::env::var("PLAN");
    let made = Plan::new(
        4,
        &[
            (12, Fault::Unanswered),
            (
                7,
                Fault::Cloud(
                    imm_operator::ports::CloudErrorKind::AccessDenied,
                    super::fault::Effect::None,
                ),
            ),
        ],
    );
    assert!(
        Plan::named(&made.to_string()) == made,
        "{made} is not found by its name"
    );
    let late = Plan::new(4, &[(12, Fault::Unanswered), (100_000, Fault::Unanswered)]);
    assert_eq!(never_happen(&late), ["100000=Unanswered"]);
    let plan = named.map_or(made, |name| Plan::named(&name));
    // The allowed writes depend on the plan's family; a replay reports every violation.
    let outcome = if plan.scenario < SCENARIOS.len() {
        judge(&plan, 3, true, true)
    } else {
        super::jobs::judge(&plan, true)
    };
    assert!(outcome.is_ok(), "PLAN='{plan}'\n{}", outcome.unwrap_err());
    let missed = never_happen(&plan).join(" ");
    assert!(
        missed.is_empty(),
        "PLAN='{plan}' proves nothing about {missed}: there are fewer effects or watch events than that number"
    );
}

/// Returns the faults of a plan that never happen: each applies to one process, and the process ends before.
fn never_happen(plan: &Plan) -> Vec<String> {
    let (calls, marks) = if plan.scenario < SCENARIOS.len() {
        let run = on_paused_time(play(plan, false));
        (run.calls, run.marks)
    } else {
        let run = on_paused_time(super::jobs::play(plan, false));
        (run.calls, run.marks)
    };
    let happens = |process: usize, at: usize, fault: Fault| {
        let effects = calls.get(process).map_or(0, Vec::len);
        at <= if fault == Fault::Hidden { marks } else { effects }
    };
    let faults = plan.faults.iter().enumerate();
    let missed = faults.filter(|(process, (at, fault))| !happens(*process, *at, *fault));
    missed.map(|(_, (at, fault))| format!("{at}={fault}")).collect()
}
