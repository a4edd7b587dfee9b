//! The metadata service of an ECS instance: its region and the sessions of its RAM role, with tokens (version 2) or
//! without (version 1). The sessions are real ones of the emulated cloud. A credentials URI answers with the same.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::answer::Answer;
use crate::clock::iso_seconds;
use crate::cloud::Cloud;
use crate::digest::random_hex;
use crate::request::Request;
use crate::seed::{InstanceSeed, RoleSeed, SecretText};
use crate::world::World;
use crate::world::accounts::Session;

/// Paths of the service; only with an instance in the seed, so that a bucket can have this name too.
pub(crate) const PREFIX: &str = "/latest/";

/// The instance of a world.
#[derive(Debug)]
pub(crate) struct Instance {
    seed: InstanceSeed,
    /// Tokens with their end.
    tokens: Vec<(String, Timestamp)>,
    /// AccessKey id of the session that is handed out now.
    current: Option<String>,
    /// Method and path of every request, with `+token` if it carried a valid one.
    pub(crate) requests: Vec<String>,
}

impl Instance {
    pub(crate) fn new(seed: InstanceSeed) -> Self {
        Self {
            seed,
            tokens: Vec::new(),
            current: None,
            requests: Vec::new(),
        }
    }
}

fn not_found() -> Answer {
    Answer::of(404, "text/html", "<html>404 - Not Found</html>")
}

/// Answers a request below `PREFIX`; `None` without an instance.
pub(crate) fn handle(cloud: &Cloud, request: &Request) -> Option<Answer> {
    let now = cloud.clock.now();
    let mut world = cloud.world();
    let instance = world.instance.as_mut()?;
    instance.tokens.retain(|(_, end)| *end > now);
    let given = request.header("x-aliyun-ecs-metadata-token");
    let valid = given.is_some_and(|given| instance.tokens.iter().any(|(token, _)| token == given));
    let mark = if valid { " +token" } else { "" };
    instance
        .requests
        .push(format!("{} {}{mark}", request.method, request.path));
    let path = request.path.strip_prefix(PREFIX).unwrap_or_default();
    if path == "api/token" {
        let life = request.header("x-aliyun-ecs-metadata-token-ttl-seconds");
        let life = life.and_then(|life| life.parse::<i64>().ok());
        return Some(match (request.method.as_str(), life) {
            _ if instance.seed.version_1_only => not_found(),
            ("PUT", Some(life)) if (1..=21_600).contains(&life) => {
                let token = random_hex(28);
                instance
                    .tokens
                    .push((token.clone(), now + SignedDuration::from_secs(life)));
                Answer::of(200, "text/plain", token)
            }
            _ => Answer::of(400, "text/plain", "Bad Request"),
        });
    }
    if !valid && (instance.seed.token_required || given.is_some()) {
        return Some(Answer::of(403, "text/html", "<html>403 - Forbidden</html>"));
    }
    let role = instance.seed.role.clone();
    Some(match path.strip_prefix("meta-data/").unwrap_or_default() {
        "region-id" => Answer::of(200, "text/plain", instance.seed.region.clone()),
        "ram/security-credentials/" if !role.is_empty() => Answer::of(200, "text/plain", role),
        path if path.strip_prefix("ram/security-credentials/") == Some(&role) && !role.is_empty() => {
            credentials(&mut world, now)
        }
        _ => not_found(),
    })
}

/// Answers like a credentials URI.
pub(crate) fn credentials_uri(cloud: &Cloud) -> Answer {
    let now = cloud.clock.now();
    credentials(&mut cloud.world(), now)
}

/// Hands out the current session, or a new one after half of its life: the cloud also replaces sessions long before they
/// end.
fn credentials(world: &mut World, now: Timestamp) -> Answer {
    let Some(instance) = &mut world.instance else {
        return not_found();
    };
    let life = SignedDuration::from_secs(instance.seed.session_seconds.unwrap_or(21_600));
    let fresh = |session: &Session| session.expires.duration_since(now) * 2 > life;
    let current = instance.current.clone();
    let known = current.filter(|id| world.sessions.get(id).is_some_and(fresh));
    let id = known.unwrap_or_else(|| {
        let id = format!("STS.{}", random_hex(12));
        let account = world.accounts.get(&instance.seed.account);
        let role = account.and_then(|account| account.role(&instance.seed.role));
        let session = Session {
            secret: SecretText(random_hex(20)),
            token: SecretText(format!("CAIS{}", random_hex(48))),
            expires: now + life,
            account: instance.seed.account.clone(),
            role: instance.seed.role.clone(),
            name: "i-bp1emulated".to_owned(),
            rights: role.map(RoleSeed::rights).unwrap_or_default(),
            policy: None,
        };
        world.sessions.insert(id.clone(), session);
        id
    });
    instance.current = Some(id.clone());
    world.sessions.get(&id).map_or_else(not_found, |session| {
        Answer::json(&json!({
            "Code": "Success", "AccessKeyId": id, "AccessKeySecret": session.secret.0,
            "SecurityToken": session.token.0, "Expiration": iso_seconds(session.expires),
            "LastUpdated": iso_seconds(now),
        }))
    })
}
