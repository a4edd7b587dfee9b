//! Plays many random histories on all processors, shrinks the first that fails, and prints it as a line that replays it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::super::runner::{TURN, on_paused_time};
use super::player::{Outcome, play};
use super::step::{Act, History};
use super::strategy::histories;

/// Histories that are played to make a failing one shorter.
const SHRINKING: usize = 3_000;
/// One of this many histories is observed for hours at its end.
const QUIET: usize = 29;

thread_local! {
    /// Panics of the operator on this thread while a history is played.
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Records panics while a history is played: a task of the operator that panics ends nothing but itself.
fn record_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            let recorded = PANICS.with_borrow_mut(|all| {
                let all = all.as_mut()?;
                all.push(info.to_string());
                Some(())
            });
            if recorded.is_none() {
                usual(info);
            }
        }));
    });
}

/// Plays a history, with hours at rest at its end if `quiet`, and returns its outcome; a panic is a violation of I15.
pub fn judge(history: &History, quiet: bool) -> Outcome {
    judge_traced(history, quiet, false)
}

/// Like [`judge`]; `trace` prints every step and effect.
pub fn judge_traced(history: &History, quiet: bool, trace: bool) -> Outcome {
    record_panics();
    PANICS.set(Some(Vec::new()));
    let played = panic::catch_unwind(|| on_paused_time(play(history, quiet, trace)));
    let panics = PANICS.take().unwrap_or_default();
    let mut outcome = played.unwrap_or_else(|_| Outcome {
        broken: Vec::new(),
        did: [0; Act::KINDS.len()],
    });
    let panics = panics.into_iter().map(|what| format!("I15: a panic: {what}"));
    outcome.broken.splice(0..0, panics);
    outcome
}

/// The part of a violation that stays the same while a history is shrunk.
fn kind_of(broken: &[String]) -> String {
    let first = broken.first().map_or("", String::as_str);
    let first = first.rsplit_once(": ").map_or(first, |_| first);
    let end = first.find(':').unwrap_or(first.len());
    let place = first.find("src/").map_or("", |at| {
        first
            .get(at..)
            .and_then(|rest| rest.split(' ').next())
            .unwrap_or("")
    });
    format!("{} {place}", first.get(..end).unwrap_or(first))
}

/// The histories to play.
#[derive(Clone, Copy)]
pub struct Hunt {
    pub seed: u64,
    /// Number of the first history, and how many there are.
    pub first: usize,
    pub count: usize,
    pub time: Option<Duration>,
}

/// What a hunt has found.
pub struct Found {
    pub played: usize,
    pub did: [usize; Act::KINDS.len()],
    /// The first failure of each kind.
    pub failures: BTreeMap<String, (usize, History)>,
    pub failed: usize,
}

/// Returns the tree of the history with a number.
fn tree(seed: u64, number: usize) -> impl ValueTree<Value = History> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&u64::try_from(number).unwrap().to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    histories().new_tree(&mut runner).unwrap()
}

/// Shrinks a failing history as long as it fails in the same way.
fn shrink(
    mut tree: impl ValueTree<Value = History>,
    broken: Vec<String>,
    quiet: bool,
) -> (History, Vec<String>) {
    let kind = kind_of(&broken);
    let mut played = 0;
    let mut fails = |history: &History| {
        played += 1;
        let broken = if played > SHRINKING {
            Vec::new()
        } else {
            judge(history, quiet).broken
        };
        (!broken.is_empty() && kind_of(&broken) == kind).then_some(broken)
    };
    let mut best = (tree.current(), broken);
    let mut going = tree.simplify();
    let mut steps = 0;
    while going && steps < SHRINKING {
        steps += 1;
        let history = tree.current();
        if let Some(broken) = fails(&history) {
            best = (history, broken);
            going = tree.simplify();
        } else {
            going = tree.complicate();
        }
    }
    // The vectors keep a minimum of steps.
    let mut at = 0;
    while at < best.0.steps.len() {
        let mut history = best.0.clone();
        history.steps.remove(at);
        match fails(&history) {
            Some(broken) => best = (history, broken),
            None => at += 1,
        }
    }
    best
}

fn describe(number: usize, history: &History, broken: &[String]) -> String {
    let (line, broken) = (history.line(), broken.join("\n"));
    format!("history {number}:\nHISTORY='{line}'\n{broken}")
}

/// Plays the histories of a hunt; stops at its first failures.
pub fn hunt(hunt: Hunt, most: usize) -> Found {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let started = Instant::now();
    let (next, stop) = (AtomicUsize::new(hunt.first), AtomicBool::new(false));
    let found = Mutex::new(Found {
        played: 0,
        did: [0; Act::KINDS.len()],
        failures: BTreeMap::new(),
        failed: 0,
    });
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let over = hunt.time.is_some_and(|time| started.elapsed() > time);
            if number >= hunt.first + hunt.count || over {
                return;
            }
            let tree = tree(hunt.seed, number);
            let quiet = number.is_multiple_of(QUIET);
            let outcome = judge(&tree.current(), quiet);
            let kind = (!outcome.broken.is_empty()).then(|| kind_of(&outcome.broken));
            {
                let mut found = found.lock().unwrap();
                found.played += 1;
                found.failed += usize::from(kind.is_some());
                for (sum, did) in found.did.iter_mut().zip(outcome.did) {
                    *sum += did;
                }
                let Some(kind) = kind.clone().filter(|kind| !found.failures.contains_key(kind)) else {
                    continue;
                };
                let first = (number, tree.current());
                found.failures.insert(kind, first);
                stop.store(found.failures.len() >= most, Ordering::Relaxed);
            }
            let (history, broken) = shrink(tree, outcome.broken, quiet);
            // Printed at once, because a hunt can take hours.
            let text = describe(number, &history, &broken);
            writeln!(std::io::stdout(), "{text}").unwrap();
            let mut found = found.lock().unwrap();
            found.failures.insert(kind.unwrap_or_default(), (number, history));
        }
    };
    std::thread::scope(|scope| {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
    found.into_inner().unwrap()
}

impl Found {
    /// Prints the counts to stdout, which the test harness does not capture.
    pub fn print(&self, name: &str, seed: u64, started: Instant) {
        let total: usize = self.did.iter().sum();
        let mut out = std::io::stdout().lock();
        let seconds = started.elapsed().as_secs_f64();
        writeln!(
            out,
            "histories: {:>6} {name}, seed {seed}, {total} steps that did something, {seconds:.1} s",
            self.played
        )
        .unwrap();
        let per_mille = |n: usize| n * 1000 / total.max(1);
        let kinds = Act::KINDS.iter().zip(self.did);
        let kinds = kinds.map(|(name, n)| format!("{name} {n} ({}\u{2030})", per_mille(n)));
        writeln!(out, "  {}", kinds.collect::<Vec<_>>().join(", ")).unwrap();
    }

    /// Fails if a history has failed.
    pub fn must_be_clean(&self) {
        let kinds: Vec<&String> = self.failures.keys().collect();
        assert!(
            kinds.is_empty(),
            "{} of {} histories failed, see above: {kinds:?}",
            self.failed,
            self.played
        );
    }
}
