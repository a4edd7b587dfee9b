//! Two independent installs, each for a namespace of its own, with grants on the same bucket; an install that may not list.

use std::sync::Arc;

use imm_harness::{Operator, OperatorOptions, until};
use serde_json::json;

use super::pair::{OTHERS, Rival, home, room};
use crate::support::seen::statements;
use crate::support::tenant::GRANT;
use crate::support::{PATIENCE, Stage, Tenant};

async fn install(stage: &Stage, namespace: &str) -> Operator {
    let mut options = stage.options(&format!("operator-of-{namespace}.log"));
    let only = ["--watch-namespaces".to_owned(), namespace.to_owned()];
    options.extra_args.extend(only);
    Operator::start(options).await.unwrap()
}

// G33
pub async fn two_installs_share_a_bucket_and_each_keeps_its_statements(stage: Arc<Stage>) {
    let here = Tenant::with_policy(&stage, "here", OTHERS).await;
    let there = Tenant::new(&stage, "there").await;
    let installs = [install(&stage, "here").await, install(&stage, "there").await];
    let bucket = json!({"bucket": {"name": here.bucket}});
    let grants = ["one", "two", "three"];
    for name in grants {
        for tenant in [&here, &there] {
            let mut changes = bucket.clone();
            changes["access"] = json!({"prefixes": [format!("{}/{name}/", tenant.name)]});
            tenant.apply(&tenant.grant(name, &changes)).await;
        }
    }
    // A write of one install may undo an unread write of the other; the check after the write finds that.
    until("all statements in the policy", PATIENCE, || async {
        let policy = here.policy();
        let every = |tenant: &Tenant| {
            grants
                .iter()
                .all(|name| policy.contains(&format!("{}/{name}/*", tenant.name)))
        };
        if every(&here) && every(&there) {
            Ok(())
        } else {
            Err(policy)
        }
    })
    .await
    .unwrap();
    for (tenant, name) in grants.iter().flat_map(|name| [(&here, name), (&there, name)]) {
        tenant.until_reason(GRANT, name, "Applied").await;
    }
    assert_eq!(statements(&here.policy()).len(), 7);

    for name in grants {
        here.delete(GRANT, name).await;
    }
    for name in grants {
        here.until_deleted(GRANT, name).await;
    }
    let left = here.policy();
    assert!(!left.contains("here-bucket/here/"), "{left}");
    assert_eq!(statements(&left).len(), 4, "{left}");
    for install in installs {
        assert!(install.terminate().await.unwrap().success());
    }
}

pub async fn a_process_that_may_not_list_replaces_no_leader(stage: Arc<Stage>) {
    let tenant = room(&stage, "unlisted").await;
    let leader = Rival::start(&tenant, "able").await;
    // It may use the lease, and list in no namespace.
    let home = home(&tenant);
    let (account, subject) = ("unable", "ServiceAccount");
    let account_of =
        json!({"apiVersion": "v1", "kind": subject, "metadata": {"name": account, "namespace": home}});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": account, "namespace": home},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "imm-operator-own"},
        "subjects": [{"kind": subject, "name": account, "namespace": home}]});
    tenant.apply(&format!("{account_of}\n---\n{binding}")).await;
    let kubeconfig = stage.plane.service_account_kubeconfig(&home, account).await;
    let options = OperatorOptions {
        kubeconfig: kubeconfig.unwrap(),
        leader_election: true,
        namespace: home,
        ..stage.options("operator-unable.log")
    };
    let log = options.log_file.clone();
    let starting = tokio::spawn(Operator::start(options));
    until("the log to name what is denied", PATIENCE, || async {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        let denied = log.contains("failed to list grants and jobs") && log.contains("immbucketgrants");
        if denied { Ok(()) } else { Err(log) }
    })
    .await
    .unwrap();
    assert!(!starting.is_finished(), "a rolling update would wait for it");
    assert!(leader.operator.terminate().await.unwrap().success());
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(!log.contains("lease"), "it competes for no lease: {log}");
    starting.abort();
}
