//! Installs the chart with both major versions of Helm on a real API server with Pods that appear to run, into a
//! namespace that enforces the `restricted` Pod Security Standard. Checks the operator's permissions, uninstalls the
//! chart, and installs it again under a quota.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a failing test panics")]

use imm_harness::{ControlPlane, HarnessError, Helm, Options};

const CHART: &str = "charts/imm-operator";

/// Returns whether the operator's ServiceAccount has a permission in namespace `media`.
async fn can(plane: &ControlPlane, question: &str) -> bool {
    let account = "--as=system:serviceaccount:imm-system:imm-operator";
    let asked: Vec<&str> = question.split(' ').collect();
    match plane
        .kubectl(&[&["auth", "can-i", "-n", "media", account], &asked[..]].concat())
        .await
    {
        Ok(_) => true,
        // A denial is exit code 1 with "no" on a line of its own; any other failure is not an answer.
        Err(HarnessError::Command { output, .. }) if output.lines().any(|line| line == "no") => false,
        Err(error) => panic!("{question}: {error}"),
    }
}

#[tokio::test]
async fn check_16_24_both_majors_install_wait_and_uninstall() {
    let plane = two_nodes().await.unwrap();
    let chart = chart();
    for helm in [Helm::Three, Helm::Four] {
        let install = [
            "install",
            "imm-operator",
            &chart,
            "-n",
            "imm-system",
            "--wait",
            "--timeout",
            "120s",
        ];
        let notes = plane.helm(helm, &install).await.unwrap();
        assert!(
            notes.contains("--serviceaccount=imm-system:imm-operator"),
            "{notes}"
        );
        assert!(!notes.contains("WARNING"), "{notes}");

        let renewed = ["get", "lease", "fake", "-n", "kube-node-lease", "-o", "name"];
        let lease = plane.kubectl(&renewed).await;
        assert!(
            lease.is_ok(),
            "the Node is not ready for long without its lease: {lease:?}"
        );
        for (question, expected) in [
            ("watch immbucketgrants.immops.dev", true),
            ("patch imagescorejobs.immops.dev", true),
            ("update imagescorejobs.immops.dev --subresource=status", true),
            ("create events.events.k8s.io", true),
            ("delete immbucketgrants.immops.dev", false),
            ("get secrets/oss-policy-admin", false),
            ("list secrets", false),
            ("create serviceaccounts --subresource=token", false),
        ] {
            assert_eq!(can(&plane, question).await, expected, "{question}");
        }

        let upgrade = [
            "upgrade",
            "imm-operator",
            &chart,
            "-n",
            "imm-system",
            "--wait",
            "--timeout",
            "120s",
        ];
        let open = ["--set", "secretAccess.namespaces={media}"];
        let media = plane.kubectl(&["create", "namespace", "media"]).await;
        assert!(media.is_ok() || helm == Helm::Four, "{media:?}");
        plane.helm(helm, &[&upgrade[..], &open].concat()).await.unwrap();
        assert!(can(&plane, "get secrets/oss-policy-admin").await);
        assert!(!can(&plane, "list secrets").await);

        plane
            .helm(helm, &["uninstall", "imm-operator", "-n", "imm-system", "--wait"])
            .await
            .unwrap();
        let left = plane
            .kubectl(&["get", "all,sa", "-n", "imm-system", "-o", "name"])
            .await
            .unwrap();
        assert!(!left.contains("imm-operator"), "{left}");
    }
    a_quota_needs_the_value_of_the_readme(&plane).await;
}

/// A second Node, which kwok simulates as well.
const SECOND_NODE: &str = "{apiVersion: v1, kind: Node, metadata: {name: second, annotations: {kwok.x-k8s.io/node: fake}, \
    labels: {kubernetes.io/os: linux, kubernetes.io/hostname: second}}, \
    status: {allocatable: {cpu: '16', memory: 32Gi, pods: '110'}, capacity: {cpu: '16', memory: 32Gi, pods: '110'}}}";

/// Starts a control plane with two Nodes and the namespace of the release, which enforces Pod Security `restricted`.
async fn two_nodes() -> Result<ControlPlane, HarnessError> {
    let options = Options {
        controllers: true,
        nodes: true,
        audit: false,
    };
    let plane = ControlPlane::start(options).await?;
    plane.apply(SECOND_NODE).await?;
    let namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: imm-system, labels: \
                     {pod-security.kubernetes.io/enforce: restricted}}}";
    plane.apply(namespace).await?;
    Ok(plane)
}

fn chart() -> String {
    imm_harness::environment::checkout()
        .join(CHART)
        .display()
        .to_string()
}

#[tokio::test]
async fn check_24_two_replicas_spread_and_allow_one_disruption() {
    let plane = two_nodes().await.unwrap();
    let spread = "topologySpreadConstraints=[{\"maxSkew\": 1, \"topologyKey\": \"kubernetes.io/hostname\", \"whenUnsatisfiable\": \"DoNotSchedule\"}]";
    let chart = chart();
    let install = [
        "install",
        "imm-operator",
        &chart,
        "-n",
        "imm-system",
        "--set",
        "replicaCount=2",
        "--set-json",
        spread,
        "--wait",
        "--timeout",
        "120s",
    ];
    plane.helm(Helm::Four, &install).await.unwrap();
    let pods = [
        "get",
        "pods",
        "-n",
        "imm-system",
        "-o",
        "jsonpath={.items[*].spec.nodeName}",
    ];
    let mut nodes: Vec<String> = plane
        .kubectl(&pods)
        .await
        .unwrap()
        .split(' ')
        .map(str::to_owned)
        .collect();
    nodes.sort();
    assert_eq!(nodes, ["fake", "second"]);
    let allowed = "--for=jsonpath={.status.disruptionsAllowed}=1";
    plane
        .kubectl(&[
            "wait",
            allowed,
            "pdb/imm-operator",
            "-n",
            "imm-system",
            "--timeout=600s",
        ])
        .await
        .unwrap();
    accepts_the_test_pod(&plane).await;
}

/// Checks that the API server accepts the Pod of `helm test`, which meets Pod Security and quotas of the namespace.
async fn accepts_the_test_pod(plane: &ControlPlane) {
    let hooks = plane
        .helm(Helm::Four, &["get", "hooks", "imm-operator", "-n", "imm-system"])
        .await
        .unwrap();
    let file = plane.folder().join("hooks.yaml");
    std::fs::write(&file, hooks).unwrap();
    let file = file.display().to_string();
    let said = plane
        .kubectl(&["apply", "--dry-run=server", "--validate=strict", "-f", &file])
        .await
        .unwrap();
    assert!(
        said.starts_with("pod/imm-operator-selftest-") && said.contains(" created"),
        "{said}"
    );
}

/// A quota on everything that a Pod can request or be limited to, with room for two Pods.
const QUOTA: &str = "{apiVersion: v1, kind: ResourceQuota, metadata: {name: all, namespace: imm-system}, spec: {hard: \
    {requests.cpu: '1', requests.memory: 1Gi, limits.cpu: '2', limits.memory: 1Gi}}}";

/// Checks that a quota on CPU limits rejects the default by name, and accepts the value that the README names.
async fn a_quota_needs_the_value_of_the_readme(plane: &ControlPlane) {
    plane.apply(QUOTA).await.unwrap();
    let wait = ["wait", "-n", "imm-system", "--timeout=60s"];
    let counted = ["resourcequota/all", "--for=jsonpath={.status.used}"];
    plane.kubectl(&[&wait[..], &counted].concat()).await.unwrap();
    let chart = chart();
    let release = ["imm-operator", &chart, "-n", "imm-system"];
    plane
        .helm(Helm::Four, &[&["install"], &release[..]].concat())
        .await
        .unwrap();
    let failure = [
        "deployment/imm-operator",
        "--for=condition=ReplicaFailure",
        "-o",
        "json",
    ];
    let failed = plane.kubectl(&[&wait[..], &failure].concat()).await.unwrap();
    assert!(
        failed.contains("failed quota: all: must specify limits.cpu for: operator"),
        "{failed}"
    );

    let readme = std::fs::read_to_string(format!("{chart}/README.md")).unwrap();
    let (_, rest) = readme.split_once("`--set resources.limits.cpu=").unwrap();
    let named = format!("resources.limits.cpu={}", rest.split('`').next().unwrap());
    let upgrade = ["--set", &named, "--wait", "--timeout", "120s"];
    plane
        .helm(Helm::Four, &[&["upgrade"], &release[..], &upgrade].concat())
        .await
        .unwrap();
    accepts_the_test_pod(plane).await;
}

#[tokio::test]
async fn check_24_an_upgrade_that_does_not_become_ready_is_rolled_back() {
    let plane = two_nodes().await.unwrap();
    let chart = chart();
    for (helm, flag) in [(Helm::Three, "--atomic"), (Helm::Four, "--rollback-on-failure")] {
        let release = ["imm-operator", &chart, "-n", "imm-system", "--wait"];
        plane
            .helm(
                helm,
                &[&["install"], &release[..], &["--timeout", "120s"]].concat(),
            )
            .await
            .unwrap();
        // kwok starts any image. A Pod that no Node can take stands for one whose image cannot be pulled.
        let bad = [
            "--set",
            "image.tag=bad,nodeSelector.no=such",
            "--timeout",
            "15s",
            flag,
        ];
        let refused = plane
            .helm(helm, &[&["upgrade"], &release[..], &bad].concat())
            .await;
        assert!(refused.is_err(), "{refused:?}");
        let image = "jsonpath={.spec.template.spec.containers[0].image} {.status.availableReplicas}";
        let deployed = [
            "get",
            "deployment",
            "imm-operator",
            "-n",
            "imm-system",
            "-o",
            image,
        ];
        assert_eq!(
            plane.kubectl(&deployed).await.unwrap(),
            "ghcr.io/imm-operator/imm-operator:0.1.0 1"
        );
        plane
            .helm(helm, &["uninstall", "imm-operator", "-n", "imm-system", "--wait"])
            .await
            .unwrap();
    }
}
