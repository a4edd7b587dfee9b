//! Responses that a service, a proxy or an attacker can send: what of them can be shown.

use proptest::prelude::*;

use super::classify::{ErrorHeaders, oss_error, rpc_error};
use super::error_text::RequestNames;
use super::{imm::limits_of, oss_policy::bucket_of, sts::account_of};

/// A value of a member that explains a refusal: known or not.
fn claim() -> impl Strategy<Value = String> {
    let known = [
        "0003-00000101",
        "ControlPolicy",
        "ExplicitDeny",
        "oss:GetObject",
        "SubUser",
    ];
    prop_oneof![
        ".{0,80}",
        proptest::sample::select(known.to_vec()).prop_map(str::to_owned)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// For every response of a service, a proxy or an attacker, status and events contain only a code and a request ID
    /// of harmless characters and the operator's own words about the refusal, and nothing of the response's text.
    #[test]
    fn of_a_hostile_body_only_a_clean_code_and_a_clean_id_survive(
        status in 400u16..600,
        code in ".{0,200}",
        message in ".{0,200}",
        id in ".{0,200}",
        claims in proptest::collection::vec(claim(), 5),
        frame in 0usize..6,
        noise in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let hidden = "canary words of the answer";
        let names = ["EC", "PolicyType", "NoPermissionType", "AuthAction", "AuthPrincipalType"];
        let detail: serde_json::Map<_, _> = names.iter().zip(&claims)
            .map(|(name, claim)| ((*name).to_owned(), claim.as_str().into()))
            .chain([("EncodedDiagnosticMessage".to_owned(), hidden.into())])
            .collect();
        let elements: String = detail.iter().map(|(name, text)| format!("<{name}>{}</{name}>", text.as_str().unwrap())).collect();
        let json = serde_json::json!({"Code": code, "Message": format!("{hidden} {message}"), "RequestId": id,
            "EC": claims[0], "AccessDeniedDetail": detail});
        let body = match frame {
            0 => format!("<Error><Code>{code}</Code><Message>{hidden} {message}</Message><RequestId>{id}</RequestId><EC>{}</EC><AccessDeniedDetail>{elements}</AccessDeniedDetail></Error>", claims[0]).into_bytes(),
            1 => format!("<Error><Code><![CDATA[{code}]]></Code><Message>{hidden}</Message></Error>").into_bytes(),
            2 => json.to_string().into_bytes(),
            3 => format!("{{\"Code\": {{\"Code\": \"{hidden}\"}}, \"Message\": [{hidden:?}]}}").into_bytes(),
            4 => format!("<html><body>{hidden} {message}</body></html>").into_bytes(),
            _ => noise,
        };
        let request = RequestNames { uri: Some(&message), whole: &[&message] };
        let headers = ErrorHeaders { request_id: Some(id), ec: Some(claims[0].clone()), ..ErrorHeaders::default() };
        for error in [
            oss_error(status, &body, headers.clone()),
            rpc_error("IMM", status, &body, headers.clone(), request),
            rpc_error("STS", status, &body, headers.clone(), RequestNames::default()),
        ] {
            let shown = error.code_and_request_id();
            let harmless = |c: char| c.is_ascii_alphanumeric() || ".-_, ".contains(c);
            prop_assert!(shown.chars().all(harmless) && shown.len() <= 150, "{shown}");
            prop_assert!(!error.code_and_refusal().contains("canary"), "{error:?}");
            let said = error.refusal.describe().unwrap_or_default();
            let own = |c: char| c.is_ascii_alphabetic() || " :-".contains(c);
            prop_assert!(said.chars().all(own) && said.len() <= 120, "{said}");
            prop_assert!(!error.code.is_empty());
        }
    }

    /// For every successful response, what a status shows of it has the form of a UID, of a region or of a role name.
    #[test]
    fn of_a_hostile_success_only_names_of_the_right_form_survive(text in ".{0,60}|[a-z]{2}-[a-z0-9-]{0,40}|[0-9]{1,25}") {
        let plain = |shown: &str| shown.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) && shown.len() <= 64;
        let quoted = serde_json::json!({"AccountId": text, "Project": {"ServiceRole": text}}).to_string();
        let account = account_of(quoted.as_bytes());
        prop_assert!(account.iter().all(|uid| plain(uid)), "{account:?}");
        let role = limits_of(quoted.as_bytes()).unwrap().service_role;
        prop_assert!(role.iter().all(|role| plain(role)), "{role:?}");
        let escaped = quick_xml::escape::escape(text.as_str());
        let xml = format!("<BucketInfo><Bucket><Location>{escaped}</Location><Owner><ID>{escaped}</ID></Owner></Bucket></BucketInfo>");
        if let Some(bucket) = bucket_of(xml.as_bytes()) {
            prop_assert!(bucket.region.iter().chain(&bucket.owner_uid).all(|shown| plain(shown)), "{bucket:?}");
        }
    }
}
