//! Tests of the index.

use super::*;

const PROTECTED: FinalizerFacts = FinalizerFacts {
    present: true,
    owns: true,
    preview: false,
    deleting: false,
};

fn key(name: &str) -> ObjectKey {
    ObjectKey {
        namespace: "n".to_owned(),
        name: name.to_owned(),
    }
}

/// A grant that looks to its consumers as its generation does.
fn grant(generation: i64, finalizer: FinalizerFacts) -> WatchedGrant {
    WatchedGrant {
        token: token(generation),
        bucket: "pics".to_owned(),
        labels: labels("ImmBucketGrant", "Applied"),
        finalizer,
        readiness: ChangeDigest::of(generation),
        consumers: Vec::new(),
    }
}

fn labels(kind: &'static str, reason: &'static str) -> ObjectLabels {
    ObjectLabels {
        kind,
        state: "Current",
        reason,
    }
}

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn watched_job(grant: Option<ObjectKey>, state: JobState, reason: &'static str, marked: bool) -> WatchedJob {
    WatchedJob {
        token: token(1),
        grant,
        state,
        labels: labels("ImageScoreJob", reason),
        marked,
        progress: ChangeDigest::default(),
    }
}

fn token(generation: i64) -> ChangeToken {
    ChangeToken {
        generation,
        ..ChangeToken::default()
    }
}

#[test]
fn only_a_change_that_consumers_see_wakes_the_waiting_jobs() {
    let mut index = Index::new(Arc::default());
    let job = |index: &mut Index, state| {
        index.upsert_job(
            &key("j"),
            watched_job(Some(key("g")), state, "Scoring", false),
            NOW,
        )
    };
    let seen = |index: &mut Index, grant: WatchedGrant| index.upsert_grant(key("g"), grant);
    assert_eq!(
        seen(&mut index, grant(1, PROTECTED)),
        [QueueKey::Bucket("pics".into())]
    );
    assert_eq!(job(&mut index, JobState::Active), [QueueKey::Job(key("j"))]);
    assert_eq!(
        seen(&mut index, grant(1, PROTECTED)),
        [],
        "an own write of the finalizer"
    );
    let annotated = ChangeToken {
        reconcile_at: Some("now".to_owned()),
        ..token(1)
    };
    assert_eq!(
        seen(
            &mut index,
            WatchedGrant {
                token: annotated.clone(),
                ..grant(1, PROTECTED)
            }
        ),
        [QueueKey::Bucket("pics".into())],
        "an annotation of the grant concerns no job"
    );
    let ready = WatchedGrant {
        token: annotated,
        readiness: ChangeDigest::of("ready"),
        ..grant(1, PROTECTED)
    };
    assert_eq!(seen(&mut index, ready), [QueueKey::Job(key("j"))]);
    assert_eq!(job(&mut index, JobState::Finished), []);
    assert_eq!(
        seen(&mut index, grant(2, PROTECTED)),
        [QueueKey::Bucket("pics".into())],
        "a finished job is not triggered"
    );
}

#[test]
fn only_consumers_that_may_use_the_grant_are_woken() {
    let mut index = Index::new(Arc::default());
    let in_namespace = |namespace: &str| ObjectKey {
        namespace: namespace.to_owned(),
        name: "j".to_owned(),
    };
    for namespace in ["n", "listed", "stranger"] {
        index.upsert_job(
            &in_namespace(namespace),
            watched_job(Some(key("g")), JobState::Active, "Scoring", false),
            NOW,
        );
    }
    let listing = |generation, consumers: &[&str]| WatchedGrant {
        consumers: consumers.iter().map(|c| (*c).to_owned()).collect(),
        ..grant(generation, PROTECTED)
    };
    let woken = |keys: Vec<QueueKey>| -> Vec<String> {
        let jobs = keys.into_iter().filter_map(|key| match key {
            QueueKey::Job(job) => Some(job.namespace),
            QueueKey::Bucket(_) | QueueKey::Finalizer(_) | QueueKey::Probe(_) => None,
        });
        jobs.collect()
    };
    assert_eq!(
        woken(index.upsert_grant(key("g"), listing(1, &["listed"]))),
        ["listed", "n"]
    );
    assert_eq!(
        woken(index.upsert_grant(key("g"), listing(2, &[]))),
        ["listed", "n"],
        "a consumer that is no longer listed has to stop"
    );
    assert_eq!(woken(index.upsert_grant(key("g"), listing(3, &[]))), ["n"]);
    assert_eq!(woken(index.remove_grant(&key("g"))), ["n"]);
}

#[test]
fn objects_missing_from_a_new_list_are_removed() {
    let metrics = Arc::<Metrics>::default();
    let mut index = Index::new(Arc::clone(&metrics));
    index.upsert_grant(key("old"), grant(1, PROTECTED));
    index.upsert_job(
        &key("j"),
        watched_job(Some(key("old")), JobState::Active, "Scoring", false),
        NOW,
    );
    index.begin_list(WatchedKind::Grants, |_| true);
    index.begin_list(WatchedKind::Jobs, |_| true);
    index.upsert_grant(key("new"), grant(1, PROTECTED));
    assert_eq!(
        index.complete_list(WatchedKind::Grants, |_| true),
        [QueueKey::Job(key("j")), QueueKey::Bucket("pics".into())]
    );
    index.complete_list(WatchedKind::Jobs, |k| k.namespace == "another");
    assert_eq!(index.jobs.len(), 1, "a list covers its own namespace only");
    index.complete_list(WatchedKind::Jobs, |_| true);
    assert_eq!(index.all_keys(), [QueueKey::Bucket("pics".into())]);
    assert!(index.waiting.is_empty());
    let series = metrics.render();
    assert!(
        series.contains(r#"immops_objects{kind="ImmBucketGrant",state="Current",reason="Applied"} 1"#),
        "{series}"
    );
    assert!(
        series.contains(r#"immops_objects{kind="ImageScoreJob",state="Current",reason="Scoring"} 0"#),
        "{series}"
    );
}

#[test]
fn a_finalizer_that_another_writer_removes_triggers_its_own_key_and_no_reconcile() {
    let mut index = Index::new(Arc::default());
    let unprotected = FinalizerFacts::default();
    let seen = |index: &mut Index, facts| index.upsert_grant(key("g"), grant(1, facts));
    assert_eq!(
        seen(&mut index, unprotected),
        [QueueKey::Bucket("pics".into())],
        "a new grant gets its finalizer from its reconcile"
    );
    assert_eq!(seen(&mut index, PROTECTED), []);
    assert_eq!(seen(&mut index, unprotected), [QueueKey::Finalizer(key("g"))]);
    let another = ChangeToken {
        uid: "another".to_owned(),
        ..token(1)
    };
    assert_eq!(
        index.upsert_grant(
            key("g"),
            WatchedGrant {
                token: another,
                ..grant(1, unprotected)
            }
        ),
        [QueueKey::Bucket("pics".into())],
        "a recreated object never had it"
    );
}

#[test]
fn the_removal_of_the_started_annotation_is_a_change_and_its_addition_is_none() {
    let mut index = Index::new(Arc::default());
    let mut seen = |marked| {
        index.upsert_job(
            &key("j"),
            watched_job(None, JobState::Active, "Scoring", marked),
            NOW,
        )
    };
    assert_eq!(seen(false), [QueueKey::Job(key("j"))]);
    assert_eq!(seen(true), []);
    assert_eq!(seen(false), [QueueKey::Job(key("j"))]);
}

#[test]
fn jobs_that_wait_for_one_grant_are_removed_one_by_one() {
    let mut index = Index::new(Arc::default());
    let job = |number: usize| key(&format!("j{number}"));
    for number in 0..1_000 {
        index.upsert_job(
            &job(number),
            watched_job(Some(key("g")), JobState::Active, "WaitingForGrant", false),
            NOW,
        );
    }
    for number in (0..1_000).filter(|number| *number != 500) {
        index.remove_job(&job(number));
    }
    assert_eq!(index.jobs_of(&key("g"), &[]), [QueueKey::Job(job(500))]);
    index.remove_job(&job(500));
    assert!(index.waiting.is_empty());
}

#[test]
fn a_grant_that_is_being_deleted_is_due_with_every_list() {
    let deleting = || WatchedGrant {
        token: ChangeToken {
            deleting: true,
            ..token(1)
        },
        ..grant(1, PROTECTED)
    };
    let mut index = Index::new(Arc::default());
    index.upsert_grant(key("g"), deleting());
    index.upsert_grant(key("other"), grant(1, PROTECTED));
    index.begin_list(WatchedKind::Grants, |_| true);
    assert_eq!(
        index.upsert_grant(key("g"), deleting()),
        [QueueKey::Bucket("pics".into())]
    );
    assert_eq!(index.upsert_grant(key("other"), grant(1, PROTECTED)), []);
    assert_eq!(index.complete_list(WatchedKind::Grants, |_| true), []);
    assert_eq!(
        index.upsert_grant(key("g"), deleting()),
        [],
        "the operator's own write is no list"
    );
}
