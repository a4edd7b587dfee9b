//! What users, owners of buckets and OSS do, step by step; each step starts when the previous one has come to rest.

use std::time::Duration;

use imm_operator::core::grant::PublicAccessBlock;
use imm_operator::ports::{CloudErrorKind, CredentialsError};

use super::fake_world::FakeWorld;
use super::rival::Edit;
use super::specs::{grant, minimal, on, retained, suspended, through_a_role, with_keys, without_pass_role};

const FOREIGN: &str = "{ \"Version\":\"1\",\r\n \"Statement\" : [ {\"Effect\":\"Deny\",\"Action\":\"oss:*\",\"N\":1000000000000000000} ,\n\t{\"Resource\":\"x\",\"Effect\":\"Allow\",\"Effect\":\"Deny\"} ] }\n";

pub type Step = fn(&mut FakeWorld);

pub struct Scenario {
    /// A number, and a description.
    pub name: &'static str,
    /// Each step is given time to come to rest, unless the scenario sets `haste`; the last step always is.
    pub steps: &'static [Step],
    /// Time between the steps of a user who does not wait.
    pub haste: Option<Duration>,
    /// Policy writes of the run without faults.
    pub writes: usize,
}

impl Scenario {
    pub fn tag(&self) -> &'static str {
        self.name.split(' ').next().unwrap()
    }
}

/// Returns a foreign policy that contains `note`.
fn long_policy(note: &str) -> String {
    format!("{{\"Version\":\"1\",\"Statement\":[{{\"Effect\":\"Deny\",\"Note\":\"{note}\"}}]}}")
}

const A: &str = "1234567890";
const B: &str = "9876543210";

const fn patient(name: &'static str, writes: usize, steps: &'static [Step]) -> Scenario {
    Scenario {
        name,
        steps,
        haste: None,
        writes,
    }
}

pub const SCENARIOS: &[Scenario] = &[
    patient("S1 create, no policy", 1, &[|o| o.apply("a", grant(A))]),
    patient(
        "S2 create beside foreign statements",
        1,
        &[|o| {
            o.foreign_policy(FOREIGN);
            o.block = Some(PublicAccessBlock::OnForBucket);
            o.apply("a", on(grant(A), &["p/"]));
        }],
    ),
    patient(
        "S3 second grant of a bucket",
        2,
        &[
            |o| {
                o.foreign_policy(FOREIGN);
                o.apply("a", grant(A));
            },
            |o| o.apply("b", minimal(on(grant(A), &["p/"]))),
        ],
    ),
    patient(
        "S4 two grants applied at once are one write",
        1,
        &[|o| {
            o.foreign_policy(FOREIGN);
            o.apply("a", grant(A));
            o.apply("b", grant(B));
        }],
    ),
    patient(
        "S5 the spec changes",
        2,
        &[
            |o| {
                o.foreign_policy(FOREIGN);
                o.apply("a", on(grant(A), &["p/", "q/"]));
            },
            |o| o.apply("a", on(grant(A), &["p/"])),
        ],
    ),
    patient(
        "S6 some of several are deleted",
        2,
        &[
            |o| {
                o.apply("a", grant(A));
                o.apply("b", grant(A));
                o.apply("c", minimal(grant(B)));
            },
            |o| {
                o.delete("a");
                o.delete("c");
            },
        ],
    ),
    patient(
        "S7 the last grant is deleted, foreign statements stay",
        2,
        &[
            |o| {
                o.foreign_policy(FOREIGN);
                o.apply("a", grant(A));
            },
            |o| o.delete("a"),
        ],
    ),
    patient(
        "S8 the last statement is deleted, and the policy with it",
        2,
        &[|o| o.apply("a", grant(A)), |o| o.delete("a")],
    ),
    patient(
        "S9 our statements are removed by hand",
        2,
        &[
            |o| {
                o.foreign_policy(FOREIGN);
                o.apply("a", on(grant(A), &["p/"]));
            },
            |o| {
                o.by_hand(Some(FOREIGN));
            },
        ],
    ),
    patient(
        "S10 only foreign statements change",
        1,
        &[
            |o| {
                o.foreign_policy(FOREIGN);
                o.apply("a", grant(A));
            },
            |o| {
                o.rival(Edit::Insert);
                o.rival(Edit::Reorder);
            },
        ],
    ),
    patient(
        "S11 nothing happens",
        1,
        &[
            |o| {
                o.foreign_policy(FOREIGN);
                o.apply("a", grant(A));
                o.apply("b", minimal(grant(B)));
            },
            |_| {},
        ],
    ),
    patient(
        "S12 the bucket is missing when its grant is deleted",
        1,
        &[
            |o| o.apply("a", grant(A)),
            |o| {
                o.refuses = Some(CloudErrorKind::NoSuchBucket);
                o.by_hand(None);
                o.delete("a");
            },
        ],
    ),
    patient(
        "S13 access is denied, and granted later",
        1,
        &[
            |o| {
                o.foreign_policy(FOREIGN);
                o.refuses = Some(CloudErrorKind::AccessDenied);
                o.expected.insert("a", "AccessDenied");
                o.apply("a", grant(A));
            },
            |o| {
                o.refuses = None;
                o.expected.clear();
            },
        ],
    ),
    patient(
        "S14 one grant does not fit, the other does, and later both do",
        2,
        &[
            |o| {
                o.block = Some(PublicAccessBlock::OnForBucket);
                o.foreign_policy(&long_policy(&"x".repeat(16_050)));
                o.expected.insert("a", "PolicyTooLarge");
                o.apply("a", grant(A));
                o.apply("b", minimal(grant(B)));
            },
            |o| {
                o.rival(Edit::Delete);
                o.expected.clear();
            },
        ],
    ),
    patient(
        "S15 a foreign statement makes OSS reject every write",
        1,
        &[
            |o| {
                o.poison = Some("poison");
                o.foreign_policy(&long_policy("poison"));
                o.expected.insert("a", "ForeignStatementRejected");
                o.apply("a", grant(A));
            },
            |o| {
                o.rival(Edit::Alter);
                o.expected.clear();
            },
        ],
    ),
    patient(
        "S16 the session expires between reading and writing",
        1,
        &[|o| {
            o.foreign_policy(FOREIGN);
            o.session_ends_at_write = true;
            o.apply("a", through_a_role(grant(A)));
        }],
    ),
    Scenario {
        name: "S17 failover in the middle of a reconcile",
        writes: 1,
        steps: &[
            |o| {
                o.foreign_policy(FOREIGN);
                o.block = Some(PublicAccessBlock::OnForBucket);
                o.apply("a", on(grant(A), &["p/"]));
            },
            |o| o.replace_process = true,
        ],
        // Between storing the intent in the ledger and writing the policy.
        haste: Some(Duration::from_millis(1_040)),
    },
    patient(
        "X1 two identities want the same statement, the first leaves",
        3,
        &[
            |o| {
                o.foreign_policy(FOREIGN);
                o.apply("a", with_keys(grant(A), "first"));
                o.apply("b", with_keys(grant(A), "second"));
            },
            |o| o.delete("a"),
        ],
    ),
    patient(
        "X2 two grants swap their prefixes",
        1,
        &[
            |o| {
                o.apply("a", on(grant(A), &["p/"]));
                o.apply("b", on(grant(A), &["q/"]));
            },
            |o| {
                o.apply("a", on(grant(A), &["q/"]));
                o.apply("b", on(grant(A), &["p/"]));
            },
        ],
    ),
    patient(
        "X3 reads are eight seconds stale",
        3,
        &[
            |o| {
                o.lag = 8;
                o.foreign_policy(FOREIGN);
                o.apply("a", with_keys(on(grant(A), &["p/"]), "first"));
                o.apply("b", with_keys(minimal(grant(B)), "second"));
            },
            |o| o.delete("a"),
        ],
    ),
    Scenario {
        name: "X4 a user deletes before the grant is live",
        writes: 2,
        steps: &[
            |o| {
                o.foreign_policy(FOREIGN);
                o.apply("a", grant(A));
                o.apply("b", minimal(grant(B)));
            },
            |o| o.delete("a"),
        ],
        haste: Some(Duration::from_secs(2)),
    },
    patient(
        "X5 an invalid grant among valid ones",
        2,
        &[
            |o| {
                o.expected.insert("bad", "InvalidSpec");
                o.apply("bad", grant("no account"));
                o.apply("good", minimal(grant(A)));
            },
            |o| o.delete("good"),
        ],
    ),
    patient(
        "X6 the Secret is deleted for good",
        1,
        &[
            |o| o.apply("a", grant(A)),
            |o| {
                o.no_secret = Some(CredentialsError::NotFound);
                o.expected.insert("a", "CredentialsUnavailable");
            },
        ],
    ),
    patient(
        "X7 one of two owners retains the statements",
        1,
        &[
            |o| {
                o.apply("a", retained(grant(A)));
                o.apply("b", grant(A));
            },
            |o| o.delete("a"),
        ],
    ),
    patient(
        "X8 a grant takes the keys of another that found its statements, and keeps one of them",
        3,
        &[
            |o| o.apply("a", with_keys(grant(A), "first")),
            |o| o.apply("b", with_keys(grant(A), "second")),
            |o| o.apply("a", with_keys(without_pass_role(grant(A)), "second")),
            |o| o.delete("b"),
            |o| o.delete("a"),
        ],
    ),
    patient(
        "X9 OSS rejects the statements of one of three grants, and one of the others is deleted",
        4,
        &[
            |o| {
                o.poison = Some("poison/");
                o.expected.insert("d", "ForeignStatementRejected");
                o.apply("a", on(grant(A), &["p/"]));
                o.apply("c", minimal(grant(B)));
                o.apply("d", on(grant(A), &["poison/"]));
            },
            |o| o.delete("a"),
            |o| {
                o.poison = None;
                o.expected.clear();
            },
        ],
    ),
    patient(
        "X10 all grants are suspended, and one of them is edited",
        1,
        &[
            |o| o.apply("a", grant(A)),
            |o| {
                o.expected.insert("a", "Suspended");
                o.apply("a", suspended(on(grant(A), &["p/"])));
            },
        ],
    ),
];
