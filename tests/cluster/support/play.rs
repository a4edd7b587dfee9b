//! Runs the tests of a program on one stage, and always stops the stage at the end. The program has a `main` of its own,
//! because the standard one never drops what its tests share, and an operator that is only killed does not show how it
//! stops.

use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use imm_harness::Options;
use libtest_mimic::{Arguments, Trial};

use super::Stage;

/// Tests mostly wait, so more tests than there are cores can run at once.
const AT_ONCE: usize = 10;

/// The body of a test.
pub type TestBody = fn(Arc<Stage>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// What may run at the same time as a test, in the order in which tests start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isolation {
    /// Any test: this test has a cluster of its own.
    Apart,
    /// Any test but `Alone`.
    Together,
    /// Only tests that are `Apart`.
    Alone,
}

/// A test; its name is a sentence.
pub struct Part {
    pub name: &'static str,
    pub isolation: Isolation,
    pub run: TestBody,
}

/// Runs all tests that the command line selects.
pub fn play(parts: Vec<Part>) -> ExitCode {
    play_with(Options::default(), parts)
}

/// Like `play`, on a control plane with other options than the default ones.
pub fn play_with(options: Options, parts: Vec<Part>) -> ExitCode {
    play_on(options, true, parts)
}

/// Like `play`, for tests that each run operators of their own.
pub fn play_without_operator(parts: Vec<Part>) -> ExitCode {
    play_on(Options::default(), false, parts)
}

fn play_on(options: Options, operator: bool, mut parts: Vec<Part>) -> ExitCode {
    // An `Alone` test that waits for its turn would block all tests after it.
    parts.sort_by_key(|part| part.isolation);
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    // A filter for another program's test must not cost a control plane.
    if arguments.list || !parts.iter().any(|part| selects(&arguments, part.name)) {
        let names = parts.iter().map(|part| Trial::test(part.name, || Ok(())));
        return libtest_mimic::run(&arguments, names.collect()).exit_code();
    }
    // The same provider that the operator's program installs.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = Options {
        audit: true,
        ..options
    };
    let stage = Arc::new(runtime.block_on(Stage::start(options)).unwrap());
    if !operator {
        assert!(runtime.block_on(stage.stop_operator()).success());
    }
    let trials = parts
        .into_iter()
        .map(|part| {
            let (stage, handle) = (Arc::clone(&stage), runtime.handle().clone());
            Trial::test(part.name, move || {
                handle.block_on(async {
                    let (alone, beside) = match part.isolation {
                        Isolation::Apart => (None, None),
                        Isolation::Together => (None, Some(stage.turn.read().await)),
                        Isolation::Alone => (Some(stage.turn.write().await), None),
                    };
                    let started = Instant::now();
                    (part.run)(Arc::clone(&stage)).await;
                    println!("{:5.1} s {}", started.elapsed().as_secs_f32(), part.name);
                    drop((alone, beside));
                });
                Ok(())
            })
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    let ended = runtime.block_on(stage.finish());
    // Processes, ports and the folder are released with the last owner of the stage.
    drop(stage);
    match ended {
        Ok(()) => conclusion.exit_code(),
        Err(problem) => {
            eprintln!("at the end: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the command line selects a test, by the rules of `cargo test`.
fn selects(arguments: &Arguments, name: &str) -> bool {
    let matches = |pattern: &String| {
        if arguments.exact {
            name == pattern
        } else {
            name.contains(pattern.as_str())
        }
    };
    arguments.filter.as_ref().is_none_or(matches) && !arguments.skip.iter().any(matches)
}
