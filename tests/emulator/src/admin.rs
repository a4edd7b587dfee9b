//! Orders over HTTP, under `/-/` on the same port: everything the library's handle can do.
//! Orders are not signed and not recorded: they stand for people and programs outside the test.

use bytes::Bytes;
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::json;

use crate::answer::Answer;
use crate::cloud::Cloud;
use crate::encoding::percent_decode;
use crate::fault::Fault;
use crate::request::{Request, value_of};
use crate::seed::Seed;
use crate::world::Lag;
use crate::world::buckets::Object;

/// No bucket can be called `-`, so nothing of OSS is hidden by it.
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

/// Reads an order's JSON body and carries it out.
fn with_json<T: for<'de> Deserialize<'de>>(body: &[u8], act: impl FnOnce(T)) -> Answer {
    match serde_json::from_slice(body) {
        Ok(order) => {
            act(order);
            Answer::empty(204)
        }
        Err(error) => problem(400, &error.to_string()),
    }
}

/// Carries out one order.
pub(crate) fn obey(cloud: &Cloud, request: &Request) -> Answer {
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
            Answer::json(&json!({"calls": cloud.ledger.calls(), "billed": cloud.ledger.billed()}))
        }
        ("DELETE", "ledger", None) => {
            cloud.ledger.clear();
            Answer::empty(204)
        }
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
            ("PUT", Some("publicAccessBlock"), None) => block(cloud, request, &bucket),
            (_, Some("objects"), Some(key)) => object(cloud, request, &bucket, &key),
            _ => problem(404, "there is no such order"),
        },
        _ => problem(404, "there is no such order"),
    }
}

fn block(cloud: &Cloud, request: &Request, name: &str) -> Answer {
    let mut world = cloud.world();
    let Some(bucket) = world.buckets.get_mut(name) else {
        return done(false, "bucket");
    };
    with_json(&request.body, |on: bool| bucket.block_public_access = on)
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
            let pinned = value_of(&request.oss_query(), "score").map(str::to_owned);
            let object = Object::new(request.body.clone(), cloud.clock.now(), pinned);
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
