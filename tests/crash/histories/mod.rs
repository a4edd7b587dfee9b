//! Random histories: small worlds in which users, tenants, other writers and the environment act between any two
//! effects of the operator. The invariants hold at every effect and at rest. A history that fails is shrunk, and
//! printed as a line: `HISTORY='…' cargo test --test crash replay_history -- --nocapture` plays only that one.

mod acts;
mod arming;
mod audit;
mod cloud;
mod forgery;
mod gate;
mod hunt;
mod jobs;
mod namespaces;
mod player;
mod ports;
mod references;
mod regressions;
mod rest;
mod specs;
mod step;
mod strategy;
mod watch;
mod world;
mod writes;

use std::time::{Duration, Instant};

use self::hunt::{Hunt, hunt, judge_traced};
use self::step::History;

/// Histories of a run: all in an optimised build, few in a debug build to keep the time short.
const COUNT: usize = if cfg!(debug_assertions) { 300 } else { 20_000 };

#[expect(
    clippy::disallowed_methods,
    reason = "the environment names the histories to play"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn number(name: &str) -> Option<u64> {
    variable(name).map(|text| text.parse().unwrap())
}

#[test]
fn random_histories_keep_the_invariants() {
    let started = Instant::now();
    let seed = number("HISTORY_SEED").unwrap_or(1);
    let minutes = number("HISTORY_MINUTES").map(|minutes| Duration::from_secs(60 * minutes));
    let plain = if minutes.is_some() { usize::MAX / 2 } else { COUNT };
    let count = number("HISTORY_COUNT").map_or(plain, |n| usize::try_from(n).unwrap());
    let all = Hunt {
        seed,
        first: number("HISTORY_FIRST").map_or(0, |n| usize::try_from(n).unwrap()),
        count,
        time: minutes,
    };
    let found = hunt(
        all,
        number("HISTORY_FAILURES").map_or(3, |n| usize::try_from(n).unwrap()),
    );
    found.print("random", seed, started);
    found.must_be_clean();
}

/// `make faults` reintroduces them one at a time; the code around them changes more often than that is run.
#[test]
fn every_known_fault_can_still_be_put_back() {
    let root = env!("CARGO_MANIFEST_DIR");
    let folder = format!("{root}/tests/crash/histories/faults");
    let mut patches = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "patch") {
            continue;
        }
        let mut check = std::process::Command::new("git");
        check.args(["apply", "--check"]).arg(&path).current_dir(root);
        let output = check.output().expect("git is missing");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        patches += 1;
    }
    assert!(patches > 0, "no patch in {folder}");
}

#[test]
fn replay_history() {
    // Without a line, one of the known histories shows that lines can be replayed.
    let line = variable("HISTORY").unwrap_or_else(|| regressions::first_line().to_owned());
    let history = History::named(&line);
    println!("{history:#?}");
    let outcome = judge_traced(&history, true, true);
    assert!(outcome.broken.is_empty(), "{}", outcome.broken.join("\n"));
}
