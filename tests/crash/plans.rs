//! Every plan of single crashes, late deliveries, and a sample of double crashes, and what each must come to.

use super::process::{LATE, PLACES, Place};
use super::scenario::{Run, SCENARIOS, Scenario, play};

fn on_paused_time<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(future)
}

fn reference(scenario: &Scenario) -> Run {
    let reference = on_paused_time(play(scenario, &[]));
    assert!(
        reference.broken.is_empty(),
        "{} without a fault: {:#?}",
        scenario.name,
        reference.broken
    );
    reference
}

/// Plays a plan and holds it against the run without faults; `repeats` is how many policy writes it may cost.
fn hold(scenario: &Scenario, reference: &Run, plan: &[(usize, Place)], repeats: usize) {
    let run = on_paused_time(play(scenario, plan));
    let replay = format!("replay: {}, faults {plan:?}", scenario.name);
    assert!(run.broken.is_empty(), "{replay}\n{:#?}", run.broken);
    assert_eq!(run.end, reference.end, "{replay}");
    let (writes, without) = (run.policy_writes, reference.policy_writes);
    assert!(
        writes <= without + repeats,
        "{replay}: {writes} policy writes, {without} without the faults"
    );
}

#[test]
fn a_crash_after_any_effect_changes_nothing_but_the_time_it_takes() {
    let mut plans = 0;
    for scenario in SCENARIOS {
        let reference = reference(scenario);
        for at in 1..=reference.effects {
            for place in PLACES {
                hold(scenario, &reference, &[(at, place)], 1);
                plans += 1;
            }
        }
        println!("{}: {} effects", scenario.name, reference.effects);
    }
    println!("{plans} single-fault plans ran");
    assert!(
        plans > 1_600,
        "only {plans} plans: the scenarios no longer reach every effect"
    );
}

#[test]
fn a_write_that_arrives_late_leaves_nothing_that_nobody_owns() {
    let mut plans = 0;
    for scenario in SCENARIOS {
        let reference = reference(scenario);
        for at in reference.written_at.clone() {
            for place in LATE {
                // The late write itself, and putting right what it undid.
                hold(scenario, &reference, &[(at, place)], 3);
                plans += 1;
            }
        }
    }
    println!("{plans} late-delivery plans ran");
    assert!(plans >= 50, "only {plans} plans");
}

#[test]
fn a_second_crash_during_recovery_changes_nothing_either() {
    // Every pair would take an hour; each run of the test takes the same sample, spread evenly over all pairs.
    let mut plans = 0;
    let mut turn = 0_usize;
    for scenario in SCENARIOS {
        let reference = reference(scenario);
        for first in 1..=reference.effects {
            for second in 1..=reference.effects {
                turn += 1;
                if !turn.is_multiple_of(23) {
                    continue;
                }
                let place = |n: usize| PLACES[(turn / 23 + n) % 4];
                hold(
                    scenario,
                    &reference,
                    &[(first, place(0)), (second, place(turn / 92))],
                    2,
                );
                plans += 1;
            }
        }
    }
    println!("{plans} double-crash plans ran");
    assert!(plans > 500, "only {plans} plans");
}
