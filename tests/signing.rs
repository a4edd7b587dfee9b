//! The operator's signatures: every vector recorded from the official SDKs, and random requests against another signer.

#[cfg(test)]
mod signing {
    use std::path::Path;

    use imm_operator::cloud::sign::{Header, SignedHeaders, acs3, oss_v4};
    use imm_operator::ports::AccessKeys;
    use k8s_openapi::jiff::Timestamp;
    use proptest::prelude::*;
    use serde_json::Value;

    fn vectors(name: &str) -> Vec<Value> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/vectors")
            .join(name);
        let cases: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(cases.len() > 10, "{name} has only {} cases", cases.len());
        cases
    }

    fn text<'a>(value: &'a Value, name: &str) -> &'a str {
        value[name].as_str().unwrap_or_default()
    }

    fn keys(inputs: &Value) -> AccessKeys {
        AccessKeys {
            id: text(inputs, "access_key_id").to_owned(),
            secret: text(inputs, "access_key_secret").into(),
            token: inputs["security_token"].as_str().map(Into::into),
            expires_at: None,
        }
    }

    fn pairs(value: &Value) -> Vec<(String, String)> {
        let pair = |v: &Value| {
            (
                v[0].as_str().unwrap().to_owned(),
                v[1].as_str().unwrap().to_owned(),
            )
        };
        value
            .as_array()
            .map(|list| list.iter().map(pair).collect())
            .unwrap_or_default()
    }

    fn map(value: &Value) -> Vec<(String, String)> {
        let entries = value.as_object().into_iter().flatten();
        entries
            .map(|(name, value)| (name.to_ascii_lowercase(), value.as_str().unwrap().to_owned()))
            .collect()
    }

    fn borrowed(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
        pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    fn headers(map: &[(String, String)]) -> Vec<Header<'_>> {
        map.iter()
            .map(|(name, value)| (name.as_str(), value.into()))
            .collect()
    }

    fn header<'a>(headers: &'a [Header<'_>], name: &str) -> &'a str {
        headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map_or("", |(_, v)| v.as_ref())
    }

    /// Compares the parts before the signature, so that a failure shows which step is wrong.
    fn assert_signed(signed: &SignedHeaders, expected: &Value, name: &str) {
        assert_eq!(
            signed.canonical_request,
            text(expected, "canonical_request"),
            "{name}"
        );
        assert_eq!(signed.string_to_sign, text(expected, "string_to_sign"), "{name}");
        assert_eq!(
            header(&signed.headers, "authorization"),
            text(expected, "authorization"),
            "{name}"
        );
    }

    #[test]
    fn every_oss_v4_vector_is_signed_as_the_official_sdk_signs_it() {
        for case in vectors("oss-v4.json") {
            let (inputs, expected) = (&case["inputs"], &case["expected"]);
            let additional: Vec<String> = inputs["additional_headers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|v| v.as_str().unwrap().to_owned())
                .collect();
            let given = map(&inputs["headers"]);
            let request = oss_v4::OssV4Request {
                method: text(inputs, "method"),
                bucket: inputs["bucket"].as_str(),
                key: inputs["key"].as_str(),
                query: &pairs(&inputs["query"]),
                headers: &headers(&given),
                additional: &additional,
                region: text(inputs, "region"),
            };
            let time: Timestamp = text(inputs, "timestamp").parse().unwrap();
            let signed = oss_v4::sign(request, &keys(inputs), time);
            let name = text(&case, "name");
            assert_signed(&signed, expected, name);
            for (added, value) in map(&expected["headers_added"]) {
                assert_eq!(header(&signed.headers, &added), value, "{name}: {added}");
            }
        }
    }

    #[test]
    fn every_acs3_vector_is_signed_as_the_official_sdk_signs_it() {
        for case in vectors("acs3.json") {
            let (inputs, expected) = (&case["inputs"], &case["expected"]);
            let given = map(&inputs["headers"]);
            let request = acs3::Acs3Request {
                method: text(inputs, "method"),
                path: inputs["path"].as_str().unwrap_or("/"),
                query: &acs3::query(&borrowed(&pairs(&inputs["query"]))),
                headers: &headers(&given),
                body: text(inputs, "body").as_bytes(),
            };
            let signed = acs3::sign(request, &keys(inputs));
            let name = text(&case, "name");
            assert_signed(&signed, expected, name);
        }
    }

    /// Returns the time and the signature that reqsign uses; its clock cannot be set, so our signer uses its time.
    fn reqsign(method: &str, path: &str, query: &str, token: Option<&str>) -> (Timestamp, String) {
        use reqsign_aliyun_oss::{Credential, RequestSigner, SigningVersion};
        use reqsign_core::{Context, SignRequest};
        let signer = RequestSigner::new("pics")
            .with_region("cn-hangzhou")
            .with_signing_version(SigningVersion::V4);
        let credential = Credential {
            access_key_id: "LTAI-id".to_owned(),
            access_key_secret: "secret".to_owned(),
            security_token: token.map(ToOwned::to_owned),
            expires_in: None,
        };
        let url = format!("https://pics.oss-cn-hangzhou.aliyuncs.com{path}?{query}");
        let request = http::Request::builder()
            .method(method)
            .uri(url)
            .header("content-type", "application/json");
        let mut parts = request.body(()).unwrap().into_parts().0;
        let context = Context::new();
        let signing = signer.sign_request(&context, &mut parts, Some(&credential), None);
        futures::executor::block_on(signing).unwrap();
        let header = |name: &str| parts.headers.get(name).unwrap().to_str().unwrap().to_owned();
        let time = header("x-oss-date");
        let time =
            k8s_openapi::jiff::fmt::strtime::parse("%Y%m%dT%H%M%S%z", time.replace('Z', "+0000")).unwrap();
        let signature = header("authorization")
            .rsplit_once("Signature=")
            .unwrap()
            .1
            .to_owned();
        (time.to_timestamp().unwrap(), signature)
    }

    proptest! {
        #[test]
        fn our_v4_signatures_equal_those_of_another_signer(
            method in prop_oneof![Just("GET"), Just("PUT"), Just("DELETE"), Just("HEAD")],
            key in "[a-zA-Z0-9 _.~/+*!'()%\u{e4}\u{4e2d}-]{0,20}",
            token in proptest::option::of("[a-zA-Z0-9+/=]{1,40}"),
            names in proptest::collection::btree_map("[a-z][a-z-]{0,8}", "[a-zA-Z0-9 /+]{0,10}", 0..4),
        ) {
            let encoded = |text: &str| acs3::query(&[("", text)])[1..].to_owned();
            let path = format!("/{}", encoded(&key).replace("%2F", "/"));
            let query: Vec<(String, String)> = names.into_iter().collect();
            let sent: Vec<String> = query.iter().map(|(n, v)| format!("{n}={}", encoded(v))).collect();
            let (time, theirs) = reqsign(method, &path, &sent.join("&"), token.as_deref());
            let keys = AccessKeys { id: "LTAI-id".to_owned(), secret: "secret".into(), token: token.map(Into::into), expires_at: None };
            let request = oss_v4::OssV4Request {
                method,
                bucket: Some("pics"),
                key: Some(&key),
                query: &query,
                headers: &[("content-type", "application/json".into())],
                additional: &[],
                region: "cn-hangzhou",
            };
            let signed = oss_v4::sign(request, &keys, time);
            prop_assert!(header(&signed.headers, "authorization").ends_with(&format!("Signature={theirs}")), "{signed:?}");
        }
    }
}
