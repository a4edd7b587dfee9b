//! Every plan of single crashes, and what each must come to.

use super::process::PLACES;
use super::scenario::{SCENARIOS, Scenario, play};

fn on_paused_time<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(future)
}

/// Runs all single crashes of a scenario; gives the number of plans.
fn crash_everywhere(scenario: &Scenario) -> usize {
    let reference = on_paused_time(play(scenario, &[]));
    assert!(
        reference.broken.is_empty(),
        "{} without a crash: {:#?}",
        scenario.name,
        reference.broken
    );
    let mut plans = 0;
    for at in 1..=reference.effects {
        for place in PLACES {
            let run = on_paused_time(play(scenario, &[(at, place)]));
            let replay = format!("{}: stopped at effect {at}, {place:?}", scenario.name);
            assert!(run.broken.is_empty(), "{replay}\n{:#?}", run.broken);
            assert_eq!(run.end, reference.end, "{replay}");
            assert!(
                run.policy_writes <= reference.policy_writes + 1,
                "{replay}: {} policy writes, {} without the crash",
                run.policy_writes,
                reference.policy_writes
            );
            plans += 1;
        }
    }
    println!("{}: {} effects, {plans} plans", scenario.name, reference.effects);
    plans
}

#[test]
fn a_crash_after_any_effect_changes_nothing_but_the_time_it_takes() {
    let plans: usize = SCENARIOS.iter().map(crash_everywhere).sum();
    println!("{plans} crash plans ran");
    assert!(
        plans > 400,
        "only {plans} plans: the scenarios no longer reach every effect"
    );
}
