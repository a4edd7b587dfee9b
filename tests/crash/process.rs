//! A process that can be stopped at any effect. Everything it reaches goes through here, counted; nothing sleeps but on
//! paused time.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use imm_operator::api::BucketRef;
use imm_operator::ports::{CallFailure, Effects, FailureKind};
use imm_operator::runtime::{Engine, Key, Mark};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::outside::Outside;

/// What befalls one effect, and where the process is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Just before it is sent.
    Before,
    /// It is lost; the process hears of a failure and is stopped at its next effect.
    Lost,
    /// It is done; the process hears of a failure and is stopped at its next effect.
    Unanswered,
    /// It is done and answered; the process is stopped at its next effect.
    Answered,
    /// It is lost, and the process goes on.
    LostOnly,
    /// It is done, the process hears of a failure and goes on.
    UnansweredOnly,
    /// A policy write is done only so many seconds later, whoever runs then; the process hears of a failure and is stopped
    /// at its next effect.
    Late(u64),
    /// Likewise, and the process goes on.
    LateOnly(u64),
}

pub const PLACES: [Place; 6] = [
    Place::Before,
    Place::Lost,
    Place::Unanswered,
    Place::Answered,
    Place::LostOnly,
    Place::UnansweredOnly,
];

/// Within the lag window, beyond it, and at nearly the end of a write's life.
pub const LATE: [Place; 4] = [
    Place::Late(3),
    Place::Late(60),
    Place::Late(290),
    Place::LateOnly(100),
];

/// The effects of one process.
pub struct Gate {
    outside: Arc<Mutex<Outside>>,
    stop_at: Option<(usize, Place)>,
    state: Mutex<(usize, bool)>,
    dead: Arc<Notify>,
    pub(super) start: (Timestamp, Instant),
}

/// What a gate lets through.
enum Pass {
    Perform,
    Lose,
    PerformUnanswered,
    PerformLate(u64),
}

impl Gate {
    async fn pass(&self, writes: bool) -> Pass {
        // A moment passes on the paused clock with every effect.
        let _ = timeout(Duration::from_millis(5), pending::<()>()).await;
        let verdict = {
            let mut state = self.state.lock().unwrap();
            let (count, dying) = &mut *state;
            *count += 1;
            if writes {
                self.outside.lock().unwrap().written_at.push(*count);
            }
            match self.stop_at {
                _ if *dying => None,
                Some((at, place)) if at == *count => {
                    *dying = !matches!(
                        place,
                        Place::LostOnly | Place::UnansweredOnly | Place::LateOnly(_)
                    );
                    match place {
                        Place::Before => None,
                        Place::Lost | Place::LostOnly => Some(Pass::Lose),
                        Place::Unanswered | Place::UnansweredOnly => Some(Pass::PerformUnanswered),
                        Place::Answered => Some(Pass::Perform),
                        Place::Late(seconds) | Place::LateOnly(seconds) => Some(Pass::PerformLate(seconds)),
                    }
                }
                _ => Some(Pass::Perform),
            }
        };
        let Some(pass) = verdict else {
            self.dead.notify_one();
            return pending().await;
        };
        pass
    }

    pub(super) fn effect<'a, T: Send + 'a, E: Send + 'a>(
        &'a self,
        lost: E,
        perform: impl FnOnce(&mut Outside) -> Result<T, E> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, E>> {
        async move {
            match self.pass(false).await {
                Pass::Lose | Pass::PerformLate(_) => Err(lost),
                Pass::Perform => perform(&mut self.outside.lock().unwrap()),
                Pass::PerformUnanswered => {
                    let _ = perform(&mut self.outside.lock().unwrap());
                    Err(lost)
                }
            }
        }
        .boxed()
    }
}

/// A policy write; OSS refuses one whose signature is older than fifteen minutes.
pub(super) fn write<'a>(
    gate: &'a Gate,
    bucket: &'a BucketRef,
    text: Option<&'a str>,
    signed_at: Timestamp,
) -> BoxFuture<'a, Result<(), CallFailure>> {
    let outside = Arc::clone(&gate.outside);
    let (bucket, text, start) = (bucket.name.clone(), text.map(ToOwned::to_owned), gate.start);
    let perform = move |late: bool| {
        let now = start.0 + SignedDuration::try_from(start.1.elapsed()).unwrap();
        let mut outside = outside.lock().unwrap();
        if now.duration_since(signed_at) <= SignedDuration::from_mins(15) {
            outside.write_policy(&bucket, text.as_deref(), now, late);
        }
    };
    async move {
        match gate.pass(true).await {
            Pass::Lose => Err(no_answer()),
            Pass::Perform => {
                perform(false);
                Ok(())
            }
            Pass::PerformUnanswered => {
                perform(false);
                Err(no_answer())
            }
            Pass::PerformLate(seconds) => {
                // The request is under way by itself: the end of its process does not stop it.
                tokio::spawn(async move {
                    let _ = timeout(Duration::from_secs(seconds), pending::<()>()).await;
                    perform(true);
                });
                Err(no_answer())
            }
        }
    }
    .boxed()
}

pub(super) fn no_answer() -> CallFailure {
    CallFailure {
        kind: FailureKind::Unanswered,
        status: None,
        code: "Timeout".to_owned(),
        request_id: None,
        retry_after: None,
    }
}

/// A running process, and how to notice its end.
pub struct Process {
    gate: Arc<Gate>,
    buckets: tokio::sync::mpsc::Sender<Mark<Key>>,
    task: JoinHandle<()>,
    dead: Arc<Notify>,
}

impl Process {
    /// Starts one; `start` is the world's time at the test's first moment.
    pub fn start(
        outside: &Arc<Mutex<Outside>>,
        start: (Timestamp, Instant),
        stop_at: Option<(usize, Place)>,
    ) -> Self {
        let dead = Arc::new(Notify::new());
        let gate = Arc::new(Gate {
            outside: Arc::clone(outside),
            stop_at,
            state: Mutex::new((0, false)),
            dead: Arc::clone(&dead),
            start,
        });
        let effects: Arc<dyn Effects> = Arc::<Gate>::clone(&gate);
        let engine = Engine::new(effects, Arc::default(), CancellationToken::new());
        let buckets = engine.buckets.clone();
        Self {
            gate,
            buckets,
            task: tokio::spawn(engine.work()),
            dead,
        }
    }

    /// A watch event about the bucket.
    pub async fn mark(&self, bucket: &str) {
        let mark = Mark {
            key: Key::Bucket(bucket.into()),
            settle: Duration::from_secs(1),
        };
        self.buckets.send(mark).await.unwrap();
    }

    /// Lets it run for so long; `true` when it was stopped before.
    pub async fn run_for(&self, time: Duration) -> bool {
        timeout(time, self.dead.notified()).await.is_ok()
    }

    /// Effects so far.
    pub fn effects(&self) -> usize {
        self.gate.state.lock().unwrap().0
    }

    /// Ends it at once, whatever it is doing.
    pub async fn kill(self) -> usize {
        self.task.abort();
        let _ = self.task.await;
        self.gate.state.lock().unwrap().0
    }
}
