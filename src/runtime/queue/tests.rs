//! Tests of the queue on paused time.

use std::sync::{Arc, Mutex};

use super::*;

async fn observed(triggers: Vec<(u64, &'static str)>, stop_after: u64) -> Vec<(u64, &'static str)> {
    let (sender, receiver) = mpsc::channel(100);
    let stop = CancellationToken::new();
    let log = Arc::new(Mutex::new(Vec::new()));
    let start = Instant::now();
    let seen = Arc::clone(&log);
    let queue = run(
        receiver,
        Workers {
            total: 2,
            per_flow: 2,
        },
        stop.clone(),
        |_| (),
        move |key: &'static str| {
            let seen = Arc::clone(&seen);
            async move {
                let at = u64::try_from(start.elapsed().as_millis()).unwrap();
                seen.lock().unwrap().push((at, key));
                tokio::time::sleep(Duration::from_millis(500)).await;
                Action::Requeue(Duration::from_secs(60))
            }
        },
    );
    let feed = async move {
        for (at, key) in triggers {
            tokio::time::sleep_until(start + Duration::from_millis(at)).await;
            sender
                .send(Trigger {
                    key,
                    debounce: Duration::from_secs(1),
                    flow: "n".into(),
                })
                .await
                .unwrap();
        }
        tokio::time::sleep_until(start + Duration::from_millis(stop_after)).await;
        stop.cancel();
    };
    futures::join!(queue, feed);
    Arc::try_unwrap(log).unwrap().into_inner().unwrap()
}

#[tokio::test(start_paused = true)]
async fn changes_are_gathered_and_a_busy_key_runs_again_afterwards() {
    let seen = observed(vec![(0, "a"), (600, "a"), (1_200, "a"), (2_300, "a")], 5_000).await;
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!((2_200..2_300).contains(&seen[0].0), "{seen:?}");
    assert!((3_600..3_900).contains(&seen[1].0), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn steady_triggers_do_not_postpone_a_reconcile_beyond_the_debounce_window() {
    let triggers = (0..20).map(|n| (n * 500, "a")).collect();
    let seen = observed(triggers, 5_400).await;
    assert!(seen[0].0 <= 5_100, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn at_most_the_given_number_of_workers_run_and_a_delay_brings_a_key_back() {
    let seen = observed(vec![(0, "a"), (0, "b"), (0, "c")], 70_000).await;
    let firsts: Vec<u64> = seen.iter().take(3).map(|(at, _)| *at).collect();
    assert!(firsts[2] >= firsts[0] + 500, "{seen:?}");
    assert_eq!(seen.iter().filter(|(_, key)| *key == "a").count(), 2, "{seen:?}");
}

/// Records when each key ran; every reconcile takes 500 ms.
async fn runs(
    workers: Workers,
    triggers: Vec<(u64, &'static str, &'static str)>,
) -> Vec<(u64, &'static str)> {
    let (sender, receiver) = mpsc::channel(1_000);
    let stop = CancellationToken::new();
    let (log, start) = (Arc::new(Mutex::new(Vec::new())), Instant::now());
    let seen = Arc::clone(&log);
    let queue = run(
        receiver,
        workers,
        stop.clone(),
        |_| (),
        move |key: &'static str| {
            let seen = Arc::clone(&seen);
            async move {
                let at = u64::try_from(start.elapsed().as_millis()).unwrap();
                seen.lock().unwrap().push((at, key));
                tokio::time::sleep(Duration::from_millis(500)).await;
                Action::AwaitChange
            }
        },
    );
    let feed = async move {
        for (at, key, flow) in triggers {
            tokio::time::sleep_until(start + Duration::from_millis(at)).await;
            let trigger = Trigger {
                key,
                debounce: Duration::from_secs(1),
                flow: flow.into(),
            };
            sender.send(trigger).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        stop.cancel();
    };
    futures::join!(queue, feed);
    Arc::try_unwrap(log).unwrap().into_inner().unwrap()
}

#[tokio::test(start_paused = true)]
async fn one_share_neither_occupies_all_workers_nor_goes_first() {
    const KEYS: [&str; 20] = [
        "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17",
        "18", "19",
    ];
    let mut triggers: Vec<_> = KEYS.iter().map(|key| (0, *key, "many")).collect();
    triggers.push((100, "victim", "one"));
    let workers = Workers {
        total: 3,
        per_flow: 2,
    };
    let seen = runs(workers, triggers).await;
    let victim = seen.iter().find(|(_, key)| *key == "victim").unwrap();
    assert!(victim.0 < 1_150, "{seen:?}");
    let first = seen.first().unwrap().0;
    let together = seen
        .iter()
        .filter(|(at, key)| *at < first + 50 && *key != "victim");
    assert_eq!(together.count(), 2, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn triggers_of_another_share_postpone_no_reconcile() {
    let mut triggers: Vec<_> = (0..20).map(|n| (n * 300, "bucket", "stranger")).collect();
    triggers.push((950, "bucket", "one"));
    triggers.sort_unstable();
    let workers = Workers {
        total: 2,
        per_flow: 2,
    };
    let seen = runs(workers, triggers).await;
    assert!((950..2_000).contains(&seen[0].0), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn the_depth_counts_keys_that_wait_and_keys_that_are_reconciled() {
    let (sender, receiver) = mpsc::channel(10);
    let stop = CancellationToken::new();
    let most = Arc::new(Mutex::new(0));
    let seen = Arc::clone(&most);
    let workers = Workers {
        total: 1,
        per_flow: 1,
    };
    let depth = move |depth: usize| {
        let mut most = seen.lock().unwrap();
        *most = depth.max(*most);
    };
    let queue = run(receiver, workers, stop.clone(), depth, |_| async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        Action::AwaitChange
    });
    let feed = async move {
        for key in ["a", "b", "c"] {
            let trigger = Trigger {
                key,
                debounce: Duration::from_secs(1),
                flow: "n".into(),
            };
            sender.send(trigger).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(30)).await;
        stop.cancel();
    };
    futures::join!(queue, feed);
    assert_eq!(*most.lock().unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_busy_key_is_postponed_afterwards_only_by_the_one_share_that_triggered_it_meanwhile() {
    let workers = Workers {
        total: 2,
        per_flow: 2,
    };
    // The first reconcile ends at 1,500 ms.
    for (flows, expected) in [
        (["one", "one", "one", "one"], 3_000),
        (["one", "one", "one", "two"], 2_500),
        (["one", "one", "two", "two"], 2_500),
        (["one", "two", "one", "one"], 2_500),
    ] {
        let times = [1_100, 1_200, 1_300, 2_000];
        let meanwhile = times
            .into_iter()
            .zip(flows)
            .map(|(at, flow)| (at, "bucket", flow));
        let triggers = [(0, "bucket", "one")].into_iter().chain(meanwhile);
        let seen = runs(workers, triggers.collect()).await;
        assert!(
            (expected..expected + 100).contains(&seen[1].0),
            "{flows:?} {seen:?}"
        );
    }
}
