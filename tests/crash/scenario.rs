//! What users do, one step after the other, each when the last has come to rest.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use imm_operator::api::{
    Access, AdoptionPolicy, BucketRef, CredentialSource, Credentials, DeletionPolicy, DriftPolicy, GrantSpec,
    Grantee, Mode, Preset, SecretRef,
};
use imm_operator::core::grant::BlockState;
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::outside::Outside;
use super::process::{Place, Process};

pub const BUCKET: &str = "test-bucket-2024";
const FOREIGN: &str = "{ \"Version\":\"1\",\r\n \"Statement\" : [ {\"Effect\":\"Deny\",\"Action\":\"oss:*\",\"N\":1000000000000000000} ,\n\t{\"Resource\":\"x\",\"Effect\":\"Allow\",\"Effect\":\"Deny\"} ] }\n";

/// How long a step is given to come to rest: longer than any back-off and than the life of an unanswered write.
const REST: Duration = Duration::from_secs(15 * 60);

pub type Step = fn(&mut Outside);

pub struct Scenario {
    pub name: &'static str,
    /// Each but the last is given time to come to rest, unless the scenario is hasty.
    pub steps: &'static [Step],
    /// Seconds between the steps of a user who does not wait.
    pub haste: Option<u64>,
}

fn spec(account: &str, prefixes: &[&str], minimal: bool) -> GrantSpec {
    spec_of("oss-policy-admin", account, prefixes, minimal)
}

fn spec_of(secret: &str, account: &str, prefixes: &[&str], minimal: bool) -> GrantSpec {
    GrantSpec {
        bucket: BucketRef {
            name: BUCKET.to_owned(),
            region: "cn-hangzhou".to_owned(),
            owner_uid: "6543210987654321".to_owned(),
        },
        grantee: Grantee {
            account_uid: account.to_owned(),
            role_name: "AliyunIMMDefaultRole".to_owned(),
        },
        access: Access {
            preset: if minimal {
                Preset::Minimal
            } else {
                Preset::Documented
            },
            prefixes: prefixes.iter().map(|p| (*p).to_owned()).collect(),
            ..Access::default()
        },
        mode: Mode::Enforce,
        suspend: false,
        adoption_policy: AdoptionPolicy::Adopt,
        drift_policy: DriftPolicy::Correct,
        drift_interval_seconds: 600,
        deletion_policy: DeletionPolicy::Delete,
        allowed_consumers: None,
        credentials: Credentials {
            source: CredentialSource::Secret,
            secret_ref: Some(SecretRef {
                name: secret.to_owned(),
            }),
            service_account: None,
            assume_role: None,
        },
    }
}

fn foreign_policy(outside: &mut Outside) {
    outside.policies.insert(BUCKET.to_owned(), FOREIGN.to_owned());
    let document = imm_operator::core::policy::Document::parse(FOREIGN.as_bytes()).unwrap();
    outside.foreign = document
        .statements()
        .iter()
        .map(|s| document.text_of(s).to_owned())
        .collect();
}

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "S1 create, no policy",
        steps: &[|o| o.apply("a", spec("1234567890", &[], false))],
        haste: None,
    },
    Scenario {
        name: "S2 create beside foreign statements",
        steps: &[|o| {
            foreign_policy(o);
            o.block = Some(BlockState::OnForBucket);
            o.apply("a", spec("1234567890", &["p/"], false));
        }],
        haste: None,
    },
    Scenario {
        name: "S3 second grant of a bucket",
        steps: &[
            |o| {
                foreign_policy(o);
                o.apply("a", spec("1234567890", &[], false));
            },
            |o| o.apply("b", spec("1234567890", &["p/"], true)),
        ],
        haste: None,
    },
    Scenario {
        name: "S4 two grants at once",
        steps: &[|o| {
            foreign_policy(o);
            o.apply("a", spec("1234567890", &[], false));
            o.apply("b", spec("9876543210", &[], false));
        }],
        haste: None,
    },
    Scenario {
        name: "S5 spec change",
        steps: &[
            |o| {
                foreign_policy(o);
                o.apply("a", spec("1234567890", &["p/", "q/"], false));
            },
            |o| o.apply("a", spec("1234567890", &["p/"], false)),
        ],
        haste: None,
    },
    Scenario {
        name: "S6 delete one of several",
        steps: &[
            |o| {
                o.apply("a", spec("1234567890", &[], false));
                o.apply("b", spec("1234567890", &[], false));
                o.apply("c", spec("9876543210", &[], true));
            },
            |o| {
                o.delete("a");
                o.delete("c");
            },
        ],
        haste: None,
    },
    Scenario {
        name: "S7 delete ours, foreign stay",
        steps: &[
            |o| {
                foreign_policy(o);
                o.apply("a", spec("1234567890", &[], false));
            },
            |o| o.delete("a"),
        ],
        haste: None,
    },
    Scenario {
        name: "S8 delete the last statement",
        steps: &[
            |o| o.apply("a", spec("1234567890", &[], false)),
            |o| o.delete("a"),
        ],
        haste: None,
    },
    Scenario {
        name: "S9 two identities want the same, the first leaves",
        steps: &[
            |o| {
                foreign_policy(o);
                o.apply("a", spec_of("first", "1234567890", &[], false));
                o.apply("b", spec_of("second", "1234567890", &[], false));
            },
            |o| o.delete("a"),
        ],
        haste: None,
    },
    Scenario {
        name: "S10 two grants swap their prefixes",
        steps: &[
            |o| {
                o.apply("a", spec("1234567890", &["p/"], false));
                o.apply("b", spec("1234567890", &["q/"], false));
            },
            |o| {
                o.apply("a", spec("1234567890", &["q/"], false));
                o.apply("b", spec("1234567890", &["p/"], false));
            },
        ],
        haste: None,
    },
    Scenario {
        name: "S11 reads are eight seconds behind",
        steps: &[
            |o| {
                o.lag = 8;
                foreign_policy(o);
                o.apply("a", spec_of("first", "1234567890", &["p/"], false));
                o.apply("b", spec_of("second", "9876543210", &[], true));
            },
            |o| o.delete("a"),
        ],
        haste: None,
    },
    Scenario {
        name: "S12 a user who deletes before the grant is live",
        steps: &[
            |o| {
                foreign_policy(o);
                o.apply("a", spec("1234567890", &[], false));
                o.apply("b", spec("9876543210", &[], true));
            },
            |o| o.delete("a"),
        ],
        haste: Some(2),
    },
];

/// What a run came to.
pub struct Run {
    pub end: String,
    pub effects: usize,
    pub policy_writes: usize,
    pub written_at: Vec<usize>,
    pub broken: Vec<String>,
}

/// Plays a scenario; `crashes` stop one process after the other, each restarted at once.
pub async fn play(scenario: &Scenario, crashes: &[(usize, Place)]) -> Run {
    let outside = Arc::new(Mutex::new(Outside::default()));
    let start = (Timestamp::from_second(1_790_000_000).unwrap(), Instant::now());
    let mut crashes = crashes.iter().copied();
    let mut process = Process::start(&outside, start, crashes.next());
    let mut effects = 0;
    for step in scenario.steps {
        step(&mut outside.lock().unwrap());
        process.mark(BUCKET).await;
        let last = std::ptr::eq(step, scenario.steps.last().unwrap());
        let time = scenario.haste.filter(|_| !last).map_or(REST, Duration::from_secs);
        while process.run_for(time).await {
            effects += process.kill().await;
            process = Process::start(&outside, start, crashes.next());
            process.mark(BUCKET).await;
        }
        if time == REST {
            outside.lock().unwrap().check_at_rest();
        }
    }
    effects += process.effects();
    process.kill().await;
    let mut outside = outside.lock().unwrap();
    let broken = std::mem::take(&mut outside.broken);
    Run {
        end: outside.end(),
        effects,
        policy_writes: outside.policy_writes,
        written_at: std::mem::take(&mut outside.written_at),
        broken,
    }
}
