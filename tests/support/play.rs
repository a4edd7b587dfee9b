//! Runs the tests of a program on one stage and takes the stage down at the end, whatever happened. A `main` of our
//! own, because the standard one never drops what its tests share, and an operator that is only killed shows nothing
//! about how it stops.

use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use imm_harness::Options;
use libtest_mimic::{Arguments, Trial};

use super::Stage;

/// Tests mostly wait for others, so many more than there are cores can run at once.
const AT_ONCE: usize = 10;

/// What a test does, from its start to its end.
pub type Course = fn(Arc<Stage>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// What may run beside a test, in the order in which tests are begun.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// Everything: it has a cluster of its own.
    Apart,
    /// Everything but what is alone.
    Together,
    /// Nothing but what is apart.
    Alone,
}

/// A test: its name is a sentence.
pub struct Part {
    pub name: &'static str,
    pub how: How,
    pub run: Course,
}

/// Plays all parts that the command line asks for.
pub fn play(parts: Vec<Part>) -> ExitCode {
    play_with(Options::default(), parts)
}

/// The same on a control plane of more parts than etcd and the API server.
pub fn play_with(options: Options, parts: Vec<Part>) -> ExitCode {
    play_on(options, true, parts)
}

/// The same for parts that each run operators of their own.
pub fn play_without_operator(parts: Vec<Part>) -> ExitCode {
    play_on(Options::default(), false, parts)
}

fn play_on(options: Options, operator: bool, mut parts: Vec<Part>) -> ExitCode {
    // One that waits to be alone would hold up all that come after it.
    parts.sort_by_key(|part| part.how);
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    if arguments.list {
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
    let stage = Arc::new(runtime.block_on(Stage::set(options)).unwrap());
    if !operator {
        assert!(runtime.block_on(stage.stop_operator()).success());
    }
    let trials = parts
        .into_iter()
        .map(|part| {
            let (stage, handle) = (Arc::clone(&stage), runtime.handle().clone());
            Trial::test(part.name, move || {
                handle.block_on(async {
                    let (alone, beside) = match part.how {
                        How::Apart => (None, None),
                        How::Together => (None, Some(stage.turn.read().await)),
                        How::Alone => (Some(stage.turn.write().await), None),
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
    // Everything else ends when the last owner goes: processes, ports and the folder.
    drop(stage);
    match ended {
        Ok(()) => conclusion.exit_code(),
        Err(problem) => {
            eprintln!("at the end: {problem}");
            ExitCode::FAILURE
        }
    }
}
