//! Signing vectors recorded from official clients: the verifier accepts each, builds the same texts, and rejects every
//! modified copy.

use imm_emulator::signing::{SignatureFault, acs3, oss_v1, oss_v4};
use imm_emulator::{Address, Request};
use serde_json::Value;

fn cases(name: &str) -> Vec<Value> {
    let path = format!("{}/../vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// Builds the request of a case as it is sent.
fn request(case: &Value) -> Request {
    let inputs = &case["inputs"];
    let mut headers = vec![("host".to_owned(), text(inputs, "host").to_owned())];
    for part in [&inputs["headers"], &case["expected"]["headers_added"]] {
        for (name, value) in part.as_object().into_iter().flatten() {
            let name = name.to_ascii_lowercase();
            headers.retain(|(given, _)| *given != name);
            headers.push((name, value.as_str().unwrap().to_owned()));
        }
    }
    let query = ["query_string_sent", "query_string_sent_by_sdk"]
        .iter()
        .find_map(|name| inputs[*name].as_str());
    Request {
        method: text(inputs, "method").to_owned(),
        path: text(inputs, "path").to_owned(),
        query: query.unwrap_or_default().to_owned(),
        headers,
        body: text(inputs, "body").as_bytes().to_vec().into(),
        source_ip: None,
    }
}

/// Returns bucket and key of a request, after asserting that the emulator parses the expected ones from host and path.
fn found(request: &Request, inputs: &Value) -> (Option<String>, Option<String>) {
    let address = Address::find(request, &[]);
    let expected = (
        inputs["bucket"].as_str().map(str::to_owned),
        inputs["key"].as_str().map(str::to_owned),
    );
    assert_eq!(
        (address.bucket.clone(), address.key.clone()),
        expected,
        "{inputs}"
    );
    expected
}

fn is_mismatch(result: &Result<(), SignatureFault>) -> bool {
    matches!(result, Err(SignatureFault::Mismatch { .. }))
}

#[test]
fn every_oss_v4_vector_is_accepted_and_none_with_a_change() {
    let cases = cases("oss-v4");
    assert_eq!(cases.len(), 25);
    for case in &cases {
        let (name, inputs, expected) = (text(case, "name"), &case["inputs"], &case["expected"]);
        let request = request(case);
        let (bucket, key) = found(&request, inputs);
        let (bucket, key) = (bucket.as_deref(), key.as_deref());
        let claim = oss_v4::ParsedSignature::read(&request).unwrap().expect(name);
        let canonical = claim.canonical_request(&request, bucket, key);
        assert_eq!(canonical, text(expected, "canonical_request"), "{name}");
        assert_eq!(
            claim.string_to_sign(&request, &canonical),
            text(expected, "string_to_sign"),
            "{name}"
        );
        let secret = text(inputs, "access_key_secret");
        assert_eq!(claim.access_key_id, text(inputs, "access_key_id"), "{name}");
        assert_eq!(claim.region, text(inputs, "region"), "{name}");
        assert_eq!(claim.verify(&request, bucket, key, secret), Ok(()), "{name}");
        assert!(
            is_mismatch(&claim.verify(&request, bucket, key, "another secret")),
            "{name}"
        );
        let other = Request {
            query: format!("{}&extra=1", request.query),
            ..request.clone()
        };
        assert!(is_mismatch(&claim.verify(&other, bucket, key, secret)), "{name}");
        let other = Request {
            method: "PATCH".to_owned(),
            ..request.clone()
        };
        assert!(is_mismatch(&claim.verify(&other, bucket, key, secret)), "{name}");
        assert!(
            is_mismatch(&claim.verify(&request, Some("other-bucket"), key, secret)),
            "{name}"
        );
    }
}

#[test]
fn every_oss_v1_vector_is_accepted_and_none_with_a_change() {
    let cases = cases("oss-v1");
    assert_eq!(cases.len(), 5);
    for case in &cases {
        let (name, inputs, expected) = (text(case, "name"), &case["inputs"], &case["expected"]);
        let request = request(case);
        let (bucket, key) = found(&request, inputs);
        let (bucket, key) = (bucket.as_deref(), key.as_deref());
        let claim = oss_v1::ParsedSignature::read(&request).unwrap().expect(name);
        assert_eq!(
            oss_v1::ParsedSignature::string_to_sign(&request, bucket, key),
            text(expected, "string_to_sign"),
            "{name}"
        );
        let secret = text(inputs, "access_key_secret");
        assert_eq!(claim.verify(&request, bucket, key, secret), Ok(()), "{name}");
        assert!(
            is_mismatch(&claim.verify(&request, bucket, key, "another secret")),
            "{name}"
        );
        let other = Request {
            query: format!("{}&acl", request.query),
            ..request.clone()
        };
        assert!(is_mismatch(&claim.verify(&other, bucket, key, secret)), "{name}");
    }
}

#[test]
fn every_acs3_vector_is_accepted_and_none_with_a_change() {
    let cases = cases("acs3");
    assert_eq!(cases.len(), 18);
    for case in &cases {
        let (name, inputs, expected) = (text(case, "name"), &case["inputs"], &case["expected"]);
        let request = request(case);
        let claim = acs3::ParsedSignature::read(&request).unwrap().expect(name);
        let canonical = claim.canonical_request(&request);
        assert_eq!(canonical, text(expected, "canonical_request"), "{name}");
        assert_eq!(
            acs3::ParsedSignature::string_to_sign(&canonical),
            text(expected, "string_to_sign"),
            "{name}"
        );
        let secret = text(inputs, "access_key_secret");
        assert_eq!(claim.verify(&request, secret), Ok(()), "{name}");
        assert!(is_mismatch(&claim.verify(&request, "another secret")), "{name}");
        let other = Request {
            query: format!("{}&Extra=1", request.query),
            ..request.clone()
        };
        assert!(is_mismatch(&claim.verify(&other, secret)), "{name}");
        let other = Request {
            body: b"another body".to_vec().into(),
            ..request.clone()
        };
        assert_eq!(claim.verify(&other, secret), Err(SignatureFault::Body), "{name}");
        let mut other = request.clone();
        other.headers.push(("x-acs-unsigned".to_owned(), "1".to_owned()));
        assert!(
            matches!(claim.verify(&other, secret), Err(SignatureFault::Malformed(_))),
            "{name}"
        );
    }
}

#[test]
fn fields_may_be_separated_by_a_comma_and_a_space() {
    for case in &cases("oss-v4") {
        let mut request = request(case);
        for (name, value) in &mut request.headers {
            if name == "authorization" {
                *value = value.replace(',', ", ");
            }
        }
        let (bucket, key) = found(&request, &case["inputs"]);
        let claim = oss_v4::ParsedSignature::read(&request).unwrap().unwrap();
        let secret = text(&case["inputs"], "access_key_secret");
        assert_eq!(
            claim.verify(&request, bucket.as_deref(), key.as_deref(), secret),
            Ok(())
        );
    }
}
