//! The admin API, under `/-/` on the same port. It offers everything the library's handle can do.
//! Admin requests are unsigned and not recorded: they represent people and programs outside the system under test.

use std::cmp::Reverse;

use bytes::Bytes;
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::json;

use crate::answer::Answer;
use crate::cloud::Cloud;
use crate::encoding::percent_decode;
use crate::fault::Fault;
use crate::metadata;
use crate::request::{Request, value_of};
use crate::seed::{ManySeed, Seed};
use crate::world::Lag;
use crate::world::buckets::{Object, Scoring};

/// `-` is not a valid bucket name, so the prefix hides no OSS bucket.
pub(crate) const PREFIX: &str = "/-/";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ClockOrder {
    offset_seconds: i64,
}

fn problem(status: u16, message: &str) -> Answer {
    Answer {
        status,
        ..Answer::json(&json!({"error": message}))
    }
}

fn done(found: bool, what: &str) -> Answer {
    if found {
        Answer::empty(204)
    } else {
        problem(404, &format!("there is no such {what}"))
    }
}

/// Decodes the JSON body and passes it to `act`. Answers 204, or 400 if the body does not decode.
fn with_json<T: for<'de> Deserialize<'de>>(body: &[u8], act: impl FnOnce(T)) -> Answer {
    match serde_json::from_slice(body) {
        Ok(order) => {
            act(order);
            Answer::empty(204)
        }
        Err(error) => problem(400, &error.to_string()),
    }
}

/// Handles one admin request.
pub(crate) fn handle_admin(cloud: &Cloud, request: &Request) -> Answer {
    let path = request.path.strip_prefix(PREFIX).unwrap_or_default();
    let mut parts = path.splitn(4, '/');
    let decoded =
        |part: Option<&str>| part.map(|part| String::from_utf8_lossy(&percent_decode(part)).into_owned());
    let (first, bucket, aspect, key) = (
        parts.next(),
        decoded(parts.next()),
        parts.next(),
        decoded(parts.next()),
    );
    match (request.method.as_str(), first.unwrap_or_default(), bucket) {
        ("GET", "health", None) => Answer::json(&json!({"status": "ok"})),
        ("GET", "ledger", None) => {
            Answer::json(&json!({"calls": cloud.ledger.calls(), "billed": cloud.ledger.counts().billed}))
        }
        ("DELETE", "ledger", None) => {
            cloud.forget_calls();
            Answer::empty(204)
        }
        ("GET", "counts", None) => Answer::json(&json!(cloud.counts())),
        ("GET", "credentials", None) => metadata::credentials_uri(cloud),
        ("GET", "billed", None) => billed(cloud),
        ("POST", "faults", None) => with_json(&request.body, |fault: Fault| cloud.faults.add(fault)),
        ("DELETE", "faults", None) => {
            cloud.faults.clear();
            Answer::empty(204)
        }
        ("PUT", "lag", None) => with_json(&request.body, |lag: Lag| cloud.world().lag = lag),
        ("PUT", "clock", None) => with_json(&request.body, |order: ClockOrder| {
            cloud
                .clock
                .set_offset(SignedDuration::from_secs(order.offset_seconds));
        }),
        ("POST", "seed", None) => add_seed(cloud, &request.body),
        (method, "buckets", Some(bucket)) => match (method, aspect, key) {
            (_, Some("policy"), None) => policy(cloud, request, &bucket),
            ("POST", Some("many"), None) => put_many(cloud, &request.body, &bucket),
            ("PUT", Some("publicAccessBlock"), None) => block(cloud, request, &bucket),
            (_, Some("objects"), Some(key)) => object(cloud, request, &bucket, &key),
            _ => problem(404, "there is no such order"),
        },
        _ => problem(404, "there is no such order"),
    }
}

/// Row limit of the answer to `billed`, so that a run with many repeated calls does not produce an unbounded body.
const MOST_ROWS: usize = 1000;

/// Returns the images that were billed more than once, the highest count first.
fn billed(cloud: &Cloud) -> Answer {
    let images = cloud.ledger.billed_images();
    let mut repeated: Vec<(&String, &u64)> = images.iter().filter(|(_, billed)| **billed > 1).collect();
    repeated.sort_by_key(|(uri, billed)| (Reverse(**billed), uri.as_str()));
    let rows = repeated.iter().take(MOST_ROWS);
    let rows: Vec<_> = rows
        .map(|(uri, billed)| json!({"uri": uri, "billed": billed}))
        .collect();
    Answer::json(&json!({
        "billed": cloud.ledger.counts().billed, "images": images.len(), "repeatedImages": repeated.len(),
        "repeated": rows,
    }))
}

fn block(cloud: &Cloud, request: &Request, name: &str) -> Answer {
    let mut world = cloud.world();
    let Some(bucket) = world.buckets.get_mut(name) else {
        return done(false, "bucket");
    };
    with_json(&request.body, |on: bool| bucket.block_public_access = on)
}

fn put_many(cloud: &Cloud, body: &[u8], bucket: &str) -> Answer {
    let seed: ManySeed = match serde_json::from_slice(body) {
        Ok(seed) => seed,
        Err(error) => return problem(400, &error.to_string()),
    };
    match cloud.put_many(bucket, seed) {
        Ok(found) => done(found, "bucket"),
        Err(error) => problem(400, &error.to_string()),
    }
}

fn add_seed(cloud: &Cloud, body: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(body);
    match Seed::from_yaml(&text).and_then(|seed| cloud.world().add(seed)) {
        Ok(()) => Answer::empty(204),
        Err(error) => problem(400, &error.to_string()),
    }
}

fn policy(cloud: &Cloud, request: &Request, name: &str) -> Answer {
    let mut world = cloud.world();
    let Some(bucket) = world.buckets.get_mut(name) else {
        return done(false, "bucket");
    };
    let written: Option<Bytes> = match request.method.as_str() {
        "GET" => {
            let found = bucket.policy.newest();
            return found.map_or_else(
                || problem(404, "the bucket has no policy"),
                |bytes| Answer::of(200, "application/octet-stream", bytes),
            );
        }
        "PUT" => Some(request.body.clone()),
        "DELETE" => None,
        _ => return problem(405, "a policy takes GET, PUT and DELETE"),
    };
    bucket.policy.set(written);
    Answer::empty(204)
}

fn object(cloud: &Cloud, request: &Request, bucket: &str, key: &str) -> Answer {
    let mut world = cloud.world();
    match request.method.as_str() {
        "PUT" => {
            let query = request.oss_query();
            let modified = match value_of(&query, "modified").map(str::parse) {
                None => cloud.clock.now(),
                Some(Ok(modified)) => modified,
                Some(Err(_)) => return problem(400, "modified is no RFC 3339 time"),
            };
            let scoring = Scoring::pinned(value_of(&query, "score"));
            let object = Object::new(request.body.clone(), modified, scoring);
            done(world.put_object(bucket, key, object), "bucket")
        }
        "DELETE" => {
            let bucket = world.buckets.get_mut(bucket);
            done(
                bucket.is_some_and(|bucket| bucket.objects.remove(key).is_some()),
                "object",
            )
        }
        _ => problem(405, "an object takes PUT and DELETE"),
    }
}
