//! Tests of the credentials that are kept.

use super::*;

#[test]
fn credentials_are_renewed_while_the_old_ones_still_work() {
    let now = Timestamp::from_second(1_790_000_000).unwrap();
    let used = |lasts: Option<i64>| {
        let end = lasts.map(|seconds| now + SignedDuration::from_secs(seconds));
        usable_until(end, now).duration_since(now).as_secs()
    };
    assert_eq!(used(None), 60, "a Secret is read again");
    assert_eq!(
        used(Some(3600)),
        3300,
        "a call that takes long must not outlive its session"
    );
    assert_eq!(used(Some(200)), 1, "a session near its expiry is used for 1 s");
}

#[test]
fn a_reference_is_open_to_the_objects_that_existed_at_a_check_until_it_is_closed() {
    let start = Timestamp::from_second(1_790_000_000).unwrap();
    let at = |seconds| start + SignedDuration::from_secs(seconds);
    let identity = |origin| Identity {
        origin,
        assumed_role: None,
    };
    let secret = identity(CredentialOrigin::Secret {
        namespace: "media".to_owned(),
        name: "keys".to_owned(),
    });
    let mut cache = KeptCredentials::default();
    assert!(!cache.is_open(&secret, &["a"], at(0)));
    cache.record_check(&secret, &["a"], at(0));
    assert!(cache.is_open(&secret, &["a"], at(49)));
    assert!(!cache.is_open(&secret, &["a", "b"], at(49)), "b is new");
    assert!(!cache.is_open(&secret, &["a"], at(50)), "the check is too old");
    // A check for one object shows that the reference is open for those that existed at an earlier one.
    cache.record_check(&secret, &["b"], at(60));
    assert!(cache.is_open(&secret, &["a", "b"], at(61)));
    assert!(
        !cache.is_open(&secret, &["a"], at(-3600)),
        "the clock was set back"
    );
    cache.record_check(&secret, &["a"], at(-3600));
    assert!(cache.is_open(&secret, &["a"], at(-3599)));
    assert!(!cache.is_open(&secret, &["a"], at(-3550)), "the check is too old");
    cache.close(&secret);
    assert!(!cache.is_open(&secret, &["a"], at(61)));
    let own = identity(CredentialOrigin::Operator {
        namespace: "media".to_owned(),
    });
    assert!(cache.is_open(&own, &["new"], at(0)), "there is no reference");
}

#[test]
fn the_namespace_with_most_sessions_loses_those_that_end_first() {
    let start = Timestamp::from_second(1_790_000_000).unwrap();
    let of = |namespace: &str, bucket: i64| {
        let origin = CredentialOrigin::Secret {
            namespace: namespace.to_owned(),
            name: "keys".to_owned(),
        };
        let identity = Identity {
            origin,
            assumed_role: None,
        };
        (identity, Some(SessionScope::Bucket(format!("b-{bucket:03}"))))
    };
    let entry = |until| Entry {
        keys: AccessKeys {
            id: "id".to_owned(),
            secret: String::new().into(),
            token: None,
            expires_at: None,
        },
        until: start + SignedDuration::from_secs(until),
        opened_with: String::new(),
    };
    let one = entry(0).bytes(&of("a", 0));
    let limits = KeptLimits {
        namespace: 10 * one,
        all: 15 * one,
    };
    let mut entries = BTreeMap::new();
    let names = |entries: &BTreeMap<EntryKey, Entry>, namespace: &str| {
        let here = entries.keys().filter(|key| key.0.namespace() == namespace);
        let mut names: Vec<_> = here.map(|key| format!("{:?}", key.1)).collect();
        names.sort_unstable();
        names
    };
    keep(&mut entries, of("b", 0), entry(0), &limits);
    for number in 0..100 {
        keep(&mut entries, of("a", number), entry(number), &limits);
    }
    let expected = (90..100)
        .map(|n| format!("{:?}", of("a", n).1))
        .collect::<Vec<_>>();
    assert_eq!(names(&entries, "a"), expected);
    assert_eq!(names(&entries, "b").len(), 1, "of another namespace");
    for number in 1..7 {
        keep(&mut entries, of("b", number), entry(number), &limits);
    }
    assert_eq!(names(&entries, "a").len(), 8, "all room is used");
    assert_eq!(names(&entries, "b").len(), 7);
}

#[test]
fn a_check_alone_renews_a_session_of_the_same_credentials_and_no_other() {
    let now = Timestamp::from_second(1_790_000_000).unwrap();
    let later = now + SignedDuration::from_secs(50);
    let secret = |role: Option<&str>| Identity {
        origin: CredentialOrigin::Secret {
            namespace: "media".to_owned(),
            name: "keys".to_owned(),
        },
        assumed_role: role.map(|role| crate::api::AssumeRole {
            role_arn: role.to_owned(),
            external_id: None,
        }),
    };
    let (scope, users) = (SessionScope::Bucket("pics".to_owned()), ["a"]);
    let keys = AccessKeys {
        id: "id".to_owned(),
        secret: String::new().into(),
        token: None,
        expires_at: Some(now + SignedDuration::from_secs(3600)),
    };
    for (role, with, is_kept) in [
        (Some("r"), "same", true),
        (Some("r"), "rotated", false),
        (None, "same", false),
    ] {
        let (mut kept, identity) = (KeptCredentials::default(), secret(role));
        assert!(kept.opened(&identity, &scope, &users, "same", now).is_none());
        kept.obtained(&identity, &scope, &keys, "same".to_owned(), now);
        assert!(kept.usable(&identity, &scope, &users, now).is_some());
        assert!(
            kept.usable(&identity, &scope, &users, later).is_none(),
            "a check is due"
        );
        let session = kept.opened(&identity, &scope, &users, with, later);
        assert_eq!(session.is_some(), is_kept, "{role:?} {with}");
        kept.forget(&identity);
        assert!(kept.usable(&identity, &scope, &users, later).is_none());
    }
}

#[test]
fn the_same_rejected_credentials_are_recognized_and_new_ones_are_not() {
    let identity = Identity {
        origin: CredentialOrigin::Operator {
            namespace: "media".to_owned(),
        },
        assumed_role: None,
    };
    let keys = |id: &str| AccessKeys {
        id: id.to_owned(),
        secret: String::new().into(),
        token: None,
        expires_at: None,
    };
    let error = CloudError::new(crate::core::error::CloudErrorKind::CredentialsRejected, "Code");
    let mut kept = KeptCredentials::default();
    kept.mark_rejected(&identity, &keys("old"), error.clone());
    assert_eq!(kept.rejected_before(&identity, &keys("old")), Some(error));
    assert_eq!(kept.rejected_before(&identity, &keys("new")), None);
    assert_eq!(
        kept.rejected_before(&identity, &keys("old")),
        None,
        "it works again"
    );
}
