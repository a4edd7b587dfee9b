//! Two independent installs, each for a namespace of its own, with grants on the same bucket.

use std::sync::Arc;

use imm_harness::{Operator, until};
use serde_json::json;

use super::pair::OTHERS;
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
