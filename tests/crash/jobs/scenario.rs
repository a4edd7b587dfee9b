//! What users do with jobs.

use std::time::Duration;

use imm_operator::api::{Condition, ConditionStatus, GrantCondition, GrantRef, JobSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::super::fake_world::FakeWorld;
use super::super::scenario::{Scenario, Step};
use super::super::specs::{BUCKET, grant};
use super::world::ACCOUNT;

fn uri(name: &str) -> String {
    format!("oss://{BUCKET}/{name}")
}

fn spec(source: &Value, budget: i64) -> JobSpec {
    serde_json::from_value(json!({
        "project": {"name": "immtest", "region": "cn-hangzhou", "accountUID": ACCOUNT},
        "credentials": {"source": "Secret", "secretRef": {"name": "imm"}},
        "source": source,
        "budget": {"maxRequests": budget, "onExceeded": "Fail"},
        "backoffLimitPerItem": 4,
        "maxFailedItems": 5,
    }))
    .unwrap()
}

/// Returns a job over `count` listed images; `named` gives some of them, by index, another name stem.
fn listed(count: usize, named: &[(usize, &str)]) -> JobSpec {
    let name = |n| {
        named
            .iter()
            .find(|(at, _)| *at == n)
            .map_or("image", |(_, name)| name)
    };
    let uris: Vec<String> = (0..count).map(|n| uri(&format!("{}-{n}.jpg", name(n)))).collect();
    spec(&json!({"uris": uris}), 1_000)
}

pub(super) fn with_grant(mut spec: JobSpec) -> JobSpec {
    let name = "a".to_owned();
    spec.grant_ref = Some(GrantRef {
        name,
        namespace: None,
    });
    spec
}

/// Adds a grant that is already live; its bucket is not reconciled.
pub(super) fn live_grant(o: &mut FakeWorld) {
    o.apply("a", grant(ACCOUNT));
    o.changed = false;
    let grant = o.grants.values_mut().next().unwrap();
    grant.status.observed_generation = Some(1);
    grant.status.conditions = vec![Condition {
        kind: GrantCondition::Granted.as_str().to_owned(),
        status: ConditionStatus::True,
        observed_generation: Some(1),
        last_transition_time: Time(Timestamp::from_second(1_780_000_000).unwrap()),
        reason: "Applied".to_owned(),
        message: String::new(),
    }];
}

const fn job(name: &'static str, steps: &'static [Step]) -> Scenario {
    Scenario {
        name,
        steps,
        haste: Some(Duration::from_millis(1_200)),
        writes: 0,
    }
}

pub const SCENARIOS: &[Scenario] = &[
    job(
        "J1 eight images that a live grant covers",
        &[|o| {
            live_grant(o);
            o.jobs.expected = Some(("Completed", Some((8, 0))));
            o.jobs.create(with_grant(listed(8, &[])));
        }],
    ),
    job(
        "J2 a prefix of two pages, with results in reports",
        &[|o| {
            o.jobs.images = (0..120).map(|n| format!("p/{n:03}.jpg")).collect();
            o.jobs.expected = Some(("Completed", Some((120, 0))));
            let source = json!({"prefix": {"bucket": BUCKET, "prefix": "p/"}});
            o.jobs.create(spec(&source, 1_000));
        }],
    ),
    job(
        "J3 two images are bad, and one fails temporarily",
        &[|o| {
            o.jobs.flaky.insert(uri("flaky-2.jpg"), 3);
            o.jobs.expected = Some(("CompletedWithFailures", Some((6, 2))));
            o.jobs.create(listed(8, &[(1, "bad"), (2, "flaky"), (5, "bad")]));
        }],
    ),
    job(
        "J4 throttled",
        &[|o| {
            o.jobs.throttles = 4;
            o.jobs.expected = Some(("Completed", Some((8, 0))));
            o.jobs.create(listed(8, &[]));
        }],
    ),
    job(
        "J5 deleted in the middle",
        &[|o| o.jobs.create(listed(30, &[])), |o| o.jobs.delete()],
    ),
    job(
        "J6 edited, suspended, and resumed in the middle",
        &[
            |o| {
                o.jobs.expected = Some(("Completed", Some((30, 0))));
                o.jobs.create(listed(30, &[]));
            },
            |o| o.jobs.edit(|spec| spec.parallelism = Some(1)),
            |o| o.jobs.edit(|spec| spec.suspend = true),
            |o| o.jobs.edit(|spec| spec.suspend = false),
        ],
    ),
    job(
        "J7 waits for its grant",
        &[|o| {
            o.jobs.expected = Some(("Completed", Some((8, 0))));
            o.jobs.create(with_grant(listed(8, &[])));
            o.apply("a", grant(ACCOUNT));
        }],
    ),
    job(
        "J8 a manifest with a bad line",
        &[|o| {
            let lines = (0..9).map(|n| {
                if n == 4 {
                    "nonsense".to_owned()
                } else {
                    uri(&format!("{n}.jpg"))
                }
            });
            o.jobs.manifest = lines.collect::<Vec<_>>().join("\n");
            o.jobs.expected = Some(("CompletedWithFailures", Some((8, 1))));
            let source = json!({"manifest": {"uri": uri("list.txt")}});
            o.jobs.create(spec(&source, 1_000));
        }],
    ),
    job(
        "J9 cancelled in the middle",
        &[
            |o| {
                o.jobs.expected = Some(("Cancelled", None));
                let mut spec = listed(30, &[]);
                // Slow enough that the job cannot finish earlier, regardless of the limits that the project reports.
                spec.parallelism = Some(1);
                o.jobs.create(spec);
            },
            |o| o.jobs.edit(|spec| spec.cancel = true),
        ],
    ),
    job(
        "J10 a budget that is too small",
        &[|o| {
            o.jobs.expected = Some(("BudgetExceeded", None));
            let mut spec = listed(12, &[]);
            spec.budget.as_mut().unwrap().max_requests = 7;
            o.jobs.create(spec);
        }],
    ),
    job(
        "J11 a permission is missing",
        &[|o| {
            o.jobs.denies = true;
            o.jobs.expected = Some(("PermissionDenied", Some((0, 0))));
            o.jobs.create(listed(8, &[]));
        }],
    ),
    job(
        "J12 the started annotation is removed in the middle",
        &[
            |o| {
                o.jobs.expected = Some(("Completed", Some((30, 0))));
                o.jobs.create(listed(30, &[]));
            },
            |o| o.jobs.remove_mark(),
        ],
    ),
    job(
        "J13 reports lose their labels while the job is suspended",
        &[
            |o| {
                o.jobs.images = (0..120).map(|n| format!("p/{n:03}.jpg")).collect();
                o.jobs.expected = Some(("Completed", Some((120, 0))));
                let source = json!({"prefix": {"bucket": BUCKET, "prefix": "p/"}});
                o.jobs.create(spec(&source, 1_000));
            },
            |o| o.jobs.edit(|spec| spec.suspend = true),
            |o| {
                o.jobs.remove_labels();
                o.jobs.edit(|spec| spec.suspend = false);
            },
        ],
    ),
    job(
        "J14 the grant was granted at an older generation",
        &[
            |o| {
                live_grant(o);
                let grant = o.grants.values_mut().next().unwrap();
                grant.generation = 2;
                grant.status.observed_generation = Some(2);
                o.jobs.expected = Some(("Completed", Some((8, 0))));
                o.jobs.create(with_grant(listed(8, &[])));
            },
            |o| {
                let calls = o.jobs.ledger.len();
                o.jobs
                    .must(calls == 0, || format!("{calls} calls before the grant is live"));
                let grant = o.grants.values_mut().next().unwrap();
                grant.status.conditions[0].observed_generation = Some(2);
                o.jobs.changed = true;
            },
        ],
    ),
];
