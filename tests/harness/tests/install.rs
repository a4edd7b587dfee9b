//! Installs the chart with both major versions of Helm on a real API server with Pods that appear to run, into a
//! namespace that enforces the `restricted` Pod Security Standard. Checks the operator's permissions and uninstalls the
//! chart.

#![expect(clippy::panic, reason = "a failing test panics")]

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
async fn both_majors_install_wait_and_uninstall() {
    let options = Options {
        controllers: true,
        nodes: true,
        audit: false,
    };
    let plane = ControlPlane::start(options).await.unwrap();
    let chart = imm_harness::environment::checkout()
        .join(CHART)
        .display()
        .to_string();
    let namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: imm-system, labels: \
                     {pod-security.kubernetes.io/enforce: restricted}}}";
    plane.apply(namespace).await.unwrap();
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
}
