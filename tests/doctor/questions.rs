//! Questions about the cloud that reads answer: each has one line of the report, in a world for each answer.

use imm_emulator::{Fault, FaultAnswer, FaultEffect, FaultMatch};
use serde_json::Value;

use super::setup::{BUCKET, GRANT, JOB, KEYS, TOKEN, World, check};

const JSON: &[&str] = &["-o", "json"];

fn both() -> String {
    format!("{GRANT}---{JOB}")
}

/// Returns what a report says by a check, which is ok.
fn seen(report: &Value, name: &str) -> String {
    let check = check(report, name);
    assert_eq!(check["level"], "ok", "{check}");
    check["seen"].as_str().unwrap().to_owned()
}

/// Returns the assumptions that were seen to be wrong.
fn assumptions(report: &Value) -> Vec<&str> {
    let wrong = report["wrongAssumptions"].as_array().unwrap().iter();
    wrong.map(|wrong| wrong["assumption"].as_str().unwrap()).collect()
}

fn has(report: &Value, name: &str) -> bool {
    let mut checks = report["checks"].as_array().unwrap().iter();
    checks.any(|check| check["name"] == name)
}

/// Answers calls of an action with one key, after the first ones.
fn answer(world: &World, action: &str, key: &str, skip: u32, answer: FaultAnswer) {
    world.emulator.add_fault(Fault {
        matching: FaultMatch {
            action: Some(action.to_owned()),
            access_key_id: Some(key.to_owned()),
            ..FaultMatch::default()
        },
        skip,
        times: None,
        effect: FaultEffect::Answer(answer),
    });
}

fn error(status: u16, code: &str) -> FaultAnswer {
    FaultAnswer {
        status,
        code: code.to_owned(),
        ..FaultAnswer::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_says_which_name_of_oss_serves_which_call() {
    let name = "oss-endpoint-answers";
    let world = World::new(", publicEndpointForbidden: true", "").await;
    let mut reader = KEYS.to_vec();
    reader.truncate(4);
    reader.extend([
        ("IMM_OPERATOR_SOURCE_ACCESS_KEY_ID", "LTAI5tPolicy"),
        ("IMM_OPERATOR_SOURCE_ACCESS_KEY_SECRET", "canary-policy"),
    ]);
    // Nothing is listed at the name in use, so there is no object to read.
    let report = world.doctor(&both(), JSON, &reader).await.json();
    let policy = "policy at each name: 404 NoSuchBucketPolicy, EC 0030-00000006";
    let closed = "400 PublicEndpointForbidden, the public endpoint does not serve this bucket";
    assert_eq!(
        seen(&report, name),
        format!("list at public and dual-stack: {closed}, at internal: 200; {policy}")
    );
    let internal = [
        "-o",
        "json",
        "--oss-endpoint=https://oss-{region}-internal.aliyuncs.com",
    ];
    let report = world.doctor(&both(), &internal, &reader).await.json();
    let lists = format!("list at public and dual-stack: {closed}, at internal: 200");
    let gets = format!("get at public and dual-stack: {closed}, at internal: 200");
    assert_eq!(seen(&report, name), format!("{lists}; {gets}; {policy}"));
    let read = world.emulator.calls();
    let read = read
        .iter()
        .filter(|call| call.action == "GetObject" && call.status == Some(206));
    assert_eq!(read.count(), 1, "one byte at one name");
    // The name for acceleration costs money.
    let without = world.emulator.calls().len();
    let flags = [internal.as_slice(), &["--accelerate"]].concat();
    let report = world.doctor(&both(), &flags, &reader).await.json();
    assert_eq!(
        seen(&report, name),
        format!(
            "list at public and dual-stack and accelerate: {closed}, at internal: 200; \
             get at public and dual-stack and accelerate: {closed}, at internal: 200; {policy}"
        )
    );
    assert_eq!(world.emulator.calls().len(), without + 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_says_whether_oss_hides_a_bucket_from_another_account() {
    let name = "bucket-of-other-account";
    let hidden = "NoSuchBucket says that a bucket does not exist";
    let world = World::new("", "").await;
    let report = world.doctor(&both(), JSON, KEYS).await.json();
    assert_eq!(
        seen(&report, name),
        "not hidden from the account of the job: GetBucketInfo and GetBucketPolicy: 403 AccessDenied, EC 0003-00000001"
    );
    assert!(!assumptions(&report).contains(&hidden));
    let missing = || error(404, "NoSuchBucket");
    answer(&world, "GetBucketInfo", "LTAI5tScorer", 0, missing());
    let report = world.doctor(&both(), JSON, KEYS).await.json();
    assert_eq!(
        seen(&report, name),
        "hidden from the account of the job: GetBucketInfo: 404 NoSuchBucket; GetBucketPolicy: 403 AccessDenied, EC 0003-00000001"
    );
    assert!(assumptions(&report).contains(&hidden), "{report:#}");
    // A bucket that its owner does not see either is not hidden.
    world.emulator.clear_faults();
    let elsewhere = both().replace(BUCKET, "another-bucket");
    let report = world.doctor(&elsewhere, JSON, KEYS).await.json();
    let text = seen(&report, name);
    assert!(
        text.starts_with("not known, as the credentials of the grant do not see the bucket"),
        "{text}"
    );
    assert!(!assumptions(&report).contains(&hidden));
    // Credentials of the owner have nothing to say about it.
    let own: Vec<_> = KEYS
        .iter()
        .filter(|(name, _)| !name.contains("JOB"))
        .copied()
        .chain([
            ("IMM_OPERATOR_JOB_ACCESS_KEY_ID", "LTAI5tPolicy"),
            ("IMM_OPERATOR_JOB_ACCESS_KEY_SECRET", "canary-policy"),
        ])
        .collect();
    let report = world.doctor(&both(), JSON, &own).await.json();
    assert!(!has(&report, name));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_says_how_the_host_of_another_region_refuses_the_bucket() {
    let name = "bucket-in-other-region";
    let named = "an error of another region's host says that the region is wrong";
    let world = World::new("", "").await;
    let report = world.doctor(&both(), JSON, KEYS).await.json();
    assert_eq!(
        seen(&report, name),
        "GetBucketPolicy at the host of cn-beijing: 403 AccessDenied, which names the host of cn-hangzhou; taken for a wrong region"
    );
    assert!(!assumptions(&report).contains(&named));
    // The first read of the owner is that of the policy.
    let redirect = || FaultAnswer {
        body: Some("<Error><Code>TemporaryRedirect</Code></Error>".to_owned()),
        content_type: Some("application/xml".to_owned()),
        ..error(307, "TemporaryRedirect")
    };
    answer(&world, "GetBucketPolicy", "LTAI5tPolicy", 1, redirect());
    let report = world.doctor(&both(), JSON, KEYS).await.json();
    assert_eq!(
        seen(&report, name),
        "GetBucketPolicy at the host of cn-beijing: 307 TemporaryRedirect; not taken for a wrong region"
    );
    assert!(assumptions(&report).contains(&named), "{report:#}");
    // An address that is the same for all regions has no other host.
    let flags = [
        "-o",
        "json",
        "--oss-endpoint=https://oss-cn-hangzhou.aliyuncs.com",
    ];
    let report = world.doctor(&both(), &flags, KEYS).await.json();
    assert!(!has(&report, name));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_says_which_form_of_a_token_exchange_is_answered_in_json() {
    let world = World::new("", "").await;
    std::fs::write(world.path("token"), TOKEN).unwrap();
    let by_token = r#"{source: ServiceAccount, serviceAccount: {name: scorer, roleARN: "acs:ram::6543210987654321:role/policy-admin", oidcProviderARN: "acs:ram::6543210987654321:oidc-provider/cluster"}}"#;
    let manifest = GRANT
        .replace("{source: Secret, secretRef: {name: oss-policy-admin}}", by_token)
        .replace("namespace: media", "namespace: team");
    let environment = [
        ("ALIBABA_CLOUD_OIDC_TOKEN_FILE", "token"),
        (
            "ALIBABA_CLOUD_ROLE_ARN",
            "acs:ram::6543210987654321:role/policy-admin",
        ),
        (
            "ALIBABA_CLOUD_OIDC_PROVIDER_ARN",
            "acs:ram::6543210987654321:oidc-provider/cluster",
        ),
    ];
    let name = "token-exchange-format";
    let report = world.doctor(&manifest, JSON, &environment).await.json();
    assert_eq!(
        seen(&report, name),
        "headers only: 200 in XML; with Format in the query: 200 in JSON; with all parameters in the query, as the operator does: 200 in JSON"
    );
    let other = manifest.replace("oidc-provider/cluster", "oidc-provider/other");
    let report = world.doctor(&other, JSON, &environment).await.json();
    let text = seen(&report, name);
    assert!(
        text.starts_with("headers only: 404 EntityNotExist.OIDCProvider in XML; "),
        "{text}"
    );
    // Without a token there is nothing to exchange.
    let report = world.doctor(&both(), JSON, KEYS).await.json();
    assert!(!has(&report, name));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_says_how_imm_refuses_a_signature_and_which_dates_it_accepts() {
    let (errors, dates) = ("imm-signature-errors", "imm-clock-tolerance");
    let limit = "the date of a call may be up to 15 minutes off";
    let world = World::new("", "").await;
    let report = world.doctor(&both(), JSON, KEYS).await.json();
    assert_eq!(
        seen(&report, errors),
        "a wrong signature: 400 SignatureDoesNotMatch in JSON; an unknown AccessKey ID: 404 InvalidAccessKeyId.NotFound in JSON; \
         a nonce for the second time: 400 SignatureNonceUsed in JSON"
    );
    assert_eq!(
        seen(&report, dates),
        "a call dated 14 min ago: 200 in JSON; 16 min ago: 400 InvalidTimeStamp.Expired in JSON; \
         the check of the clock fails from 15 minutes on, as documented"
    );
    assert_eq!(assumptions(&report), Vec::<&str>::new());
    let calls = world.emulator.calls();
    let of_imm = |status| {
        let regions = calls.iter().filter(|call| call.action == "ListRegions");
        regions.filter(|call| call.status == Some(status)).count()
    };
    assert_eq!((of_imm(200), of_imm(400), of_imm(404)), (1, 3, 1));
    // A service that accepts every date and every nonce.
    let body = Some(r#"{"RequestId": "1", "Regions": []}"#.to_owned());
    let accepts = || FaultAnswer {
        body: body.clone(),
        ..error(200, "")
    };
    answer(&world, "ListRegions", "LTAI5tScorer", 0, accepts());
    let report = world.doctor(&both(), JSON, KEYS).await.json();
    assert!(
        seen(&report, dates).ends_with("the check of the clock fails from 16 minutes on"),
        "{report:#}"
    );
    for wrong in [
        limit,
        "a nonce is accepted once",
        "the error of a wrong key names the credentials",
    ] {
        assert!(assumptions(&report).contains(&wrong), "{wrong}: {report:#}");
    }
    // Nothing is asked of IMM.
    world.emulator.clear_faults();
    let flags = ["-o", "json", "--no-imm"];
    let report = world.doctor(&both(), &flags, KEYS).await.json();
    assert!(!has(&report, errors) && !has(&report, dates), "{report:#}");
    let calls = world.emulator.calls();
    assert!(calls.iter().all(|call| call.service != "imm"), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_says_for_which_dates_a_new_session_is_valid() {
    let name = "session-dates";
    let world = World::new("", "").await;
    let credentials = "{source: Secret, secretRef: {name: oss-policy-admin}";
    let role = "assumeRole: {roleARN: \"acs:ram::6543210987654321:role/editor\"}}";
    let manifest = both().replace(&format!("{credentials}}}"), &format!("{credentials}, {role}"));
    let keys: Vec<_> = KEYS
        .iter()
        .map(|(name, value)| match *value {
            "LTAI5tPolicy" => (*name, "LTAI5tEditor"),
            "canary-policy" => (*name, "canary-editor"),
            value => (*name, value),
        })
        .collect();
    let report = world.doctor(&manifest, JSON, &keys).await.json();
    assert_eq!(
        seen(&report, name),
        "valid before it was issued, and a date may be 15 minutes off, as documented: a read dated now: 200; \
         10 min earlier: accepted; 14 min 50 s earlier: accepted; 15 min 10 s earlier: 403 RequestTimeTooSkewed; \
         14 min 50 s later: accepted"
    );
    // A cloud in which a session begins when it is issued. The first read with a session of the bucket's owner is
    // another check.
    let refused = Fault {
        matching: FaultMatch {
            action: Some("GetBucketInfo".to_owned()),
            ..FaultMatch::default()
        },
        skip: 2,
        times: Some(2),
        effect: FaultEffect::Answer(error(403, "InvalidSecurityToken")),
    };
    world.emulator.add_fault(refused);
    let report = world.doctor(&manifest, JSON, &keys).await.json();
    let check = check(&report, name);
    assert_eq!(check["level"], "warning", "{check}");
    assert!(
        check["seen"].as_str().unwrap().starts_with(
            "not valid before it was issued: a read dated now: 200; 10 min earlier: 403 InvalidSecurityToken;"
        ),
        "{check}"
    );
    let wrong = "a session serves calls that are dated before it was issued";
    assert!(assumptions(&report).contains(&wrong), "{report:#}");
    // Long-lived keys are not issued at a time.
    world.emulator.clear_faults();
    let report = world.doctor(&both(), JSON, KEYS).await.json();
    assert!(!has(&report, name), "{report:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_says_whether_listed_keys_are_read_as_they_are() {
    let name = "listed-keys";
    let assumed = "encoding-type=url encodes each key once";
    let world = World::new("", "").await;
    let report = world.doctor(&both(), JSON, KEYS).await.json();
    assert_eq!(
        seen(&report, name),
        "not seen: no key on the first page has special characters"
    );
    for key in [
        "photos/a b.jpg",
        "photos/a+b.jpg",
        "photos/ü.jpg",
        "photos/&<.jpg",
    ] {
        assert!(world.emulator.put_object(BUCKET, key, b"x".as_slice(), None));
    }
    let report = world.doctor(&both(), JSON, KEYS).await.json();
    assert_eq!(
        seen(&report, name),
        "the same with and without encoding-type: 4 keys with special characters (space, +, other ASCII, beyond ASCII)"
    );
    assert!(!assumptions(&report).contains(&assumed));
    // The page of the check of the source, one for each name of OSS, and the one without an encoding.
    let lists = world.emulator.calls();
    let lists = lists.iter().filter(|call| call.action == "ListObjectsV2");
    assert_eq!(lists.count(), 5);
    // A cloud that encodes each key twice.
    let page = "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>photos/a%2520b.jpg</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents></ListBucketResult>";
    let twice = FaultAnswer {
        body: Some(page.to_owned()),
        content_type: Some("application/xml".to_owned()),
        ..error(200, "")
    };
    answer(&world, "ListObjectsV2", "LTAI5tLister", 0, twice);
    let report = world.doctor(&both(), JSON, KEYS).await.json();
    let check = check(&report, name);
    assert_eq!(check["level"], "warning", "{check}");
    assert!(
        check["seen"]
            .as_str()
            .unwrap()
            .ends_with("encoding-type: 1 of 1 key with special characters (%)"),
        "{check}"
    );
    assert!(assumptions(&report).contains(&assumed), "{report:#}");
    for hidden in ["a b.jpg", "a+b.jpg", "%2520"] {
        assert!(!report.to_string().contains(hidden), "{hidden}: {report:#}");
    }
}
