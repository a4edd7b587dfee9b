//! Hostile names against two validators: the schema at the real API server, and the operator's own checks. Both must
//! agree on every name, because a stored object may be older than the schema, and a schema can be replaced.

#[cfg(test)]
mod hostile_names {
    use std::collections::{BTreeMap, BTreeSet};

    use imm_harness::tools::Tool;
    use imm_harness::{ControlPlane, Options};
    use imm_operator::api;
    use imm_operator::api::{GrantSpec, JobSpec};
    use imm_operator::cli::generate;
    use imm_operator::core::grant::{PassRoleDecision, parse_spec};
    use imm_operator::core::job;
    use serde_json::{Value, json};

    /// Texts that must not reach a policy, a URL, a path or a log unnoticed.
    const HOSTILE: &[&str] = &[
        "",
        " ",
        "a",
        "ab",
        "*",
        "**",
        "a*",
        "?",
        "a?b",
        "$",
        "${acs:SourceIp}",
        "{",
        "}",
        "{{x}}",
        "\\",
        "a\\b",
        "/",
        "/a",
        "//",
        "a//b",
        "..",
        "../a",
        "a/../b",
        "./a",
        "\n",
        "a\nb",
        "\r\n",
        "\t",
        "\0",
        "a\0b",
        "\u{7f}",
        "\u{85}",
        "\u{9f}",
        "\u{a0}",
        "\u{ad}",
        "\u{200b}",
        "a\u{200d}b",
        "\u{202e}gpj.a",
        "\u{2028}",
        "\u{2029}",
        "\u{2066}",
        "\u{feff}a",
        "\u{fffd}",
        "\u{e0041}",
        "\u{600}",
        "\u{110bd}",
        "\u{180e}",
        "ü",
        "中文/",
        "é",
        "e\u{301}",
        "😀",
        "\"",
        "'",
        "a\"b",
        "\",\"Effect\":\"Deny",
        "]}",
        "a,b",
        "a:b",
        "a;b",
        "a|b",
        "a b",
        "a+b",
        "a%2Fb",
        "%00",
        "%",
        "~",
        "-",
        "-a",
        "a-",
        "a--b",
        "_",
        "a_b",
        ".",
        "a.b",
        "A",
        "Abc",
        "abc",
        "abc-",
        "-abc",
        "xn--a",
        "a..b",
        "a.-b",
        "?limit=500",
        "../..",
        "127.0.0.1",
        "localhost",
        "169.254.169.254",
        "test-bucket-2024",
        "test_bucket",
        "test.bucket",
        "TEST-BUCKET",
        "cn-hangzhou",
        "oss-cn-hangzhou",
        "cn-hangzhou-internal",
        "cn-internal",
        "cn-internal-x",
        "cn-hangzhou-internal-",
        "cn",
        "cn-",
        "-cn",
        "cn--x",
        "us-east-1",
        "cn-north-2-gov",
        "cn-north-2-gov-1",
        "cn-shanghai-finance-1",
        "cn-hangzhou-finance",
        "cn-financial",
        "c1-x",
        "cn-x-y-z-w",
        "12345",
        "1234",
        "01234567890123456789",
        "123456789012345678901",
        "12345a",
        "٣٣٣٣٣",
        "１２３４５",
        "+12345",
        "0x12345",
        "1e10",
        "AliyunIMMDefaultRole",
        "Role/../Other",
        "role name",
        "role*",
        "immtest",
        "9project",
        "_p",
        "p-1",
        "p.1",
        "photos/2024/",
        "photos/2024/*",
        "oss://",
        "oss:///a",
        "oss://ab/a",
        "oss://abc/a",
        "oss://abc/",
        "oss://abc",
        "oss://abc//a",
        "oss://abc/../a",
        "oss://ABC/a",
        "oss://abc/a b.jpg",
        "oss://abc/中.jpg",
        "OSS://abc/a",
        "http://abc/a",
        "oss://abc/a\n",
        "oss://abc/\u{85}",
        "oss://abc/\u{202e}",
        "oss://a_c/a",
        "oss://abc/a?b#c",
        "oss://abc@d/e",
        "oss://-abc/a",
    ];

    /// Returns the hostile texts, and texts around every length limit.
    fn texts() -> Vec<String> {
        let mut texts: Vec<String> = HOSTILE.iter().map(|text| (*text).to_owned()).collect();
        for length in [63, 64, 65, 127, 128, 129, 512, 513] {
            texts.push("a".repeat(length));
        }
        texts.extend(["中".repeat(512), "中".repeat(513)]);
        for bytes in [1022, 1023, 1024] {
            texts.push(format!("oss://abc/{}", "a".repeat(bytes)));
            texts.push("a".repeat(bytes));
        }
        texts.extend([
            format!("oss://abc/{}", "中".repeat(341)),
            format!("oss://abc/{}", "中".repeat(342)),
        ]);
        texts
    }

    fn grant(name: &str) -> Value {
        json!({
            "apiVersion": "immops.dev/v1alpha1", "kind": "ImmBucketGrant", "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "bucket": {"name": "abc", "region": "cn-hangzhou", "ownerUID": "12345"},
                "grantee": {"accountUID": "12345"},
                "credentials": {"source": "Secret", "secretRef": {"name": "s"}},
            },
        })
    }

    fn score_job(name: &str) -> Value {
        json!({
            "apiVersion": "immops.dev/v1alpha1", "kind": "ImageScoreJob", "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "project": {"name": "immtest", "region": "cn-hangzhou", "accountUID": "12345"},
                "credentials": {"source": "Secret", "secretRef": {"name": "s"}},
                "source": {"uris": ["oss://abc/a"]},
            },
        })
    }

    /// Returns every object of the corpus, by name.
    fn objects() -> BTreeMap<String, Value> {
        let fields = [
            "/spec/bucket/name",
            "/spec/bucket/region",
            "/spec/bucket/ownerUID",
            "/spec/grantee/accountUID",
            "/spec/grantee/roleName",
            "/spec/access/prefixes/0",
            "/spec/project/name",
            "/spec/project/region",
            "/spec/source/uris/0",
            "/spec/source/prefix/bucket",
            "/spec/source/prefix/prefix",
            "/spec/source/manifest/uri",
            "/spec/access/roleChain/serviceRole",
            "/spec/access/roleChain/chain/0/role",
            "/spec/access/roleChain/chain/0/assumeRoleFor",
            "/spec/grantRef/name",
            "/spec/grantRef/namespace",
            "/spec/grantee/sessionName",
        ];
        let mut objects = BTreeMap::new();
        for (place, field) in fields.iter().enumerate() {
            for (number, text) in texts().into_iter().enumerate() {
                let name = format!("f{place}-{number}");
                let of_grant = place < 6 || place == 17;
                let mut object = if of_grant { grant(&name) } else { score_job(&name) };
                object["spec"]["grantee"]["roleName"] = if of_grant { json!("Role") } else { Value::Null };
                if place == 5 {
                    object["spec"]["access"] = json!({"prefixes": [""]});
                }
                if !of_grant {
                    object["spec"].as_object_mut().unwrap().remove("grantee");
                }
                if place >= 9 && !of_grant {
                    object["spec"]["budget"] = json!({"maxRequests": 1});
                }
                match place {
                    9 | 10 => object["spec"]["source"] = json!({"prefix": {"bucket": "abc", "prefix": ""}}),
                    11 => object["spec"]["source"] = json!({"manifest": {"uri": ""}}),
                    17 => {
                        object["spec"]["grantee"]["principal"] = json!("ServiceRoleSession");
                        object["spec"]["grantee"]["sessionName"] = json!("");
                    }
                    15 | 16 => object["spec"]["grantRef"] = json!({"name": "open", "namespace": "media"}),
                    12.. => {
                        let link = json!({"role": "r", "assumeRoleFor": "12345"});
                        let chain = json!({"serviceRole": "s", "chain": [link]});
                        object["spec"]["access"] = json!({"mode": "RoleChain", "roleChain": chain});
                    }
                    _ => {}
                }
                *object.pointer_mut(field).unwrap() = json!(text);
                objects.insert(name, object);
            }
        }
        objects
    }

    /// Returns whether the operator's own checks accept a stored object.
    fn accepted_by_the_operator(object: &Value) -> bool {
        let spec = object["spec"].clone();
        if object["kind"] == "ImmBucketGrant" {
            // Deserializing adds the defaults that the API server would set.
            let spec: Option<GrantSpec> = serde_json::from_value(spec).ok();
            return spec.is_some_and(|spec| parse_spec(&spec, PassRoleDecision::Omitted).is_ok());
        }
        let spec: Option<JobSpec> = serde_json::from_value(spec).ok();
        spec.is_some_and(|spec| job::validated_source(&spec).is_ok())
    }

    #[tokio::test]
    async fn the_schema_and_the_operator_agree_on_every_hostile_name() {
        let plane = ControlPlane::start(Options::default()).await.unwrap();
        plane.apply(&generate::crds_yaml(&api::crds())).await.unwrap();
        for kind in ["immbucketgrants", "imagescorejobs"] {
            let established = format!("crd/{kind}.immops.dev");
            plane
                .kubectl(&[
                    "wait",
                    "--for=condition=Established",
                    &established,
                    "--timeout=600s",
                ])
                .await
                .unwrap();
        }
        let objects = objects();
        assert!(objects.len() > 1_000, "only {} objects", objects.len());
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects.values().collect::<Vec<_>>()});
        let file = plane.folder().join("corpus.json");
        std::fs::write(&file, list.to_string()).unwrap();
        // kubectl continues after a rejection, prints the accepted names, and ends with an error for the others.
        let mut kubectl = std::process::Command::new(Tool::Kubectl.path().unwrap());
        kubectl
            .args(["create", "--dry-run=server", "-o", "name", "-f"])
            .arg(&file)
            .env("KUBECONFIG", plane.kubeconfig());
        let answer = String::from_utf8(kubectl.output().unwrap().stdout).unwrap();
        let named = answer.lines().filter_map(|line| {
            line.strip_prefix("immbucketgrant.immops.dev/")
                .or(line.strip_prefix("imagescorejob.immops.dev/"))
        });
        let accepted: BTreeSet<&str> = named.collect();
        let ours: BTreeSet<&str> = objects
            .iter()
            .filter(|(_, o)| accepted_by_the_operator(o))
            .map(|(n, _)| n.as_str())
            .collect();
        let shown = |names: Vec<&&str>| {
            names
                .iter()
                .map(|name| objects[**name]["spec"].to_string().chars().take(300).collect())
                .collect::<Vec<String>>()
        };
        assert!(ours.len() > 40, "only {} objects were accepted", ours.len());
        let (schema, operator) = (
            shown(accepted.difference(&ours).collect()),
            shown(ours.difference(&accepted).collect()),
        );
        assert!(schema.is_empty(), "accepted only by the schema: {schema:#?}");
        assert!(
            operator.is_empty(),
            "accepted only by the operator: {operator:#?}"
        );
    }
}
