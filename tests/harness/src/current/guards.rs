//! What must not exist in the cluster before the demo: the operator in any form, the namespaces that the demo creates,
//! and a kind that cannot be listed.

use std::collections::BTreeSet;

use serde_json::Value;

use super::created::{LABEL, marks, objects};
use super::{CurrentCluster, listing};
use crate::error::{HarnessError, Result};

/// Fails with `Refused` if the cluster has a CRD of the operator, a release of its chart, or one of the namespaces, or
/// if the removal at the end could not see what is in its namespaces.
pub async fn refuse_occupied(cluster: &CurrentCluster, namespaces: &[&str]) -> Result<()> {
    let marked = listing::list(cluster, &[], &["--all-namespaces", "-l", LABEL]).await?;
    refuse_marked(cluster, &marks(&marked.objects))?;
    let found = lines(cluster, &["get", "customresourcedefinitions", "-o", "name"]).await?;
    if let Some(found) = found.iter().find(|name| name.ends_with(".immops.dev")) {
        return refused(
            cluster,
            &format!("{found} exists, so that grants and jobs of others may"),
        );
    }
    let listed = ["list", "--all-namespaces", "--max", "0", "-o", "json"];
    if let Some((name, namespace)) = release_of_chart(&cluster.helm(&listed).await?)? {
        return refused(
            cluster,
            &format!("the release {name} in namespace {namespace} exists"),
        );
    }
    // Helm lists no release that another Helm has begun to install, and no installation by kubectl.
    let others = [
        ("secrets,configmaps", "owner=helm,name=imm-operator"),
        ("deployments", "app.kubernetes.io/name=imm-operator"),
    ];
    for (kinds, selector) in others {
        let place = r#"jsonpath={range .items[*]}{.kind} {.metadata.name} in namespace {.metadata.namespace}{"\n"}{end}"#;
        let found = lines(
            cluster,
            &["get", kinds, "--all-namespaces", "-l", selector, "-o", place],
        )
        .await?;
        if let Some(found) = found.first() {
            return refused(cluster, &format!("{found} belongs to a release of imm-operator"));
        }
    }
    for namespace in namespaces {
        let found = [
            "get",
            "namespace",
            namespace,
            "--ignore-not-found",
            "--show-managed-fields",
            "-o",
            "json",
        ];
        let found = objects(&cluster.kubectl(&found).await?)?;
        refuse_marked(cluster, &marks(&found))?;
        if !found.is_empty() {
            return refused(
                cluster,
                &format!("namespace/{namespace} exists, and the demo would create it"),
            );
        }
    }
    match marked.problems().next() {
        None => Ok(()),
        Some(problem) => Err(HarnessError::Refused(format!(
            "not every kind can be listed, so that the demo could not see at the end what others have in its namespaces: \
             {problem}: repair or remove that API in the cluster of context {}, or run `make demo` without CLUSTER",
            cluster.context()
        ))),
    }
}

/// Returns name and namespace of a release of the operator's chart, in what Helm lists. Fails if that cannot be read.
fn release_of_chart(listed: &str) -> Result<Option<(String, String)>> {
    let listed: Vec<Value> = serde_json::from_str(listed.trim())
        .map_err(|error| HarnessError::Surprise(format!("reading what `helm list` prints: {error}")))?;
    let text = |release: &Value, key| release.get(key).and_then(Value::as_str).map(str::to_owned);
    for release in &listed {
        let (chart, name) = (text(release, "chart"), text(release, "name"));
        let namespace = text(release, "namespace");
        let (Some(chart), Some(name), Some(namespace)) = (chart, name, namespace) else {
            return Err(HarnessError::Surprise(format!(
                "`helm list` prints a release without chart, name or namespace: {release}"
            )));
        };
        if chart.starts_with("imm-operator-") {
            return Ok(Some((name, namespace)));
        }
    }
    Ok(None)
}

async fn lines(cluster: &CurrentCluster, args: &[&str]) -> Result<Vec<String>> {
    Ok(cluster.kubectl(args).await?.lines().map(str::to_owned).collect())
}

/// Fails with the command that removes the objects of an earlier demo.
fn refuse_marked(cluster: &CurrentCluster, marks: &BTreeSet<String>) -> Result<()> {
    let Some(mark) = marks.first() else {
        return Ok(());
    };
    Err(HarnessError::Refused(format!(
        "it has objects of the demo {mark}: if that has ended, `{}` removes them",
        cluster.removal_command(mark)
    )))
}

fn refused(cluster: &CurrentCluster, why: &str) -> Result<()> {
    Err(HarnessError::Refused(format!(
        "{why}: choose another cluster than that of context {}, remove it if nobody needs it, or run `make demo` without CLUSTER",
        cluster.context()
    )))
}

#[cfg(test)]
mod tests {
    use super::release_of_chart;

    #[test]
    fn what_helm_lists_is_read_or_refused() {
        let listed = |chart: &str| format!(r#"[{{"name":"n","namespace":"s","chart":"{chart}"}}]"#);
        assert_eq!(release_of_chart("[]\n").unwrap(), None);
        assert_eq!(release_of_chart(&listed("imm-1.0.0")).unwrap(), None);
        assert_eq!(
            release_of_chart(&listed("imm-operator-0.1.0")).unwrap(),
            Some(("n".to_owned(), "s".to_owned()))
        );
        for unreadable in ["", "null", "{}", "NAME NAMESPACE", "[1]", r#"[{"name":"n"}]"#] {
            assert!(release_of_chart(unreadable).is_err(), "{unreadable}");
        }
    }
}
