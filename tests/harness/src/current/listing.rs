//! Lists the objects of every kind that can be deleted. One kind that cannot be listed does not hide the others.

use serde_json::Value;

use super::CurrentCluster;
use super::created::objects;
use crate::error::Result;

/// What a listing found.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The objects.
    pub(super) objects: Vec<Value>,
    /// The API groups whose kinds the API server does not know, each with the reason: a part that serves them is down.
    pub(super) unknown: Vec<String>,
    /// Why objects of kinds that the API server knows were not listed.
    pub(super) failed: Vec<String>,
}

impl Listing {
    /// Returns every reason why the listing may be incomplete.
    pub(super) fn problems(&self) -> impl Iterator<Item = &String> {
        self.unknown.iter().chain(&self.failed)
    }
}

/// Lists the objects of all kinds, except events, with the given arguments of `kubectl get`. `kinds` are arguments of
/// `kubectl api-resources`. Fails if no kind is known, or if nothing can be listed.
pub(super) async fn list(cluster: &CurrentCluster, kinds: &[&str], which: &[&str]) -> Result<Listing> {
    let kinds = [&["api-resources", "--verbs=list,delete", "-o", "name"], kinds].concat();
    let known = cluster.kubectl_output(&kinds).await?;
    let events = |kind: &str| kind == "events" || kind.starts_with("events.");
    let names = known.text.lines().filter(|kind| !events(kind));
    let names = names.collect::<Vec<_>>().join(",");
    if names.is_empty() {
        known.into_text()?;
        return Ok(Listing::default());
    }
    let mut unknown = unavailable(cluster).await?;
    if !known.succeeded() {
        unknown.extend(errors(&known.errors));
    }
    let listed = [&["get", &names, "-o", "json"], which].concat();
    let listed = cluster.kubectl_output(&listed).await?;
    // kubectl prints a list, if only an empty one, unless it gave up before the first kind.
    if listed.text.trim().is_empty() {
        listed.into_text()?;
        return Ok(Listing {
            unknown,
            ..Listing::default()
        });
    }
    let failed = if listed.succeeded() {
        Vec::new()
    } else {
        errors(&listed.errors)
    };
    Ok(Listing {
        objects: objects(&listed.text)?,
        unknown,
        failed,
    })
}

/// Returns the aggregated APIs whose server does not answer. kubectl lists their kinds no more, and says nothing.
async fn unavailable(cluster: &CurrentCluster) -> Result<Vec<String>> {
    let services = ["get", "apiservices.apiregistration.k8s.io", "-o", "json"];
    let services = cluster.kubectl_output(&services).await?;
    if services.succeeded() {
        return Ok(objects(&services.text)?.iter().filter_map(outage).collect());
    }
    // An API server without aggregation has no such kind.
    Ok(if services.errors.contains("doesn't have a resource type") {
        Vec::new()
    } else {
        errors(&services.errors)
    })
}

/// Returns name and reason of an aggregated API that is not available.
fn outage(service: &Value) -> Option<String> {
    let text = |value: &Value, path: &str| value.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let conditions = service.pointer("/status/conditions")?.as_array()?;
    let down = conditions.iter().find(|condition| {
        text(condition, "/type").as_deref() == Some("Available")
            && text(condition, "/status").as_deref() == Some("False")
    })?;
    let (group, version) = (text(service, "/spec/group")?, text(service, "/spec/version")?);
    let why = text(down, "/message").unwrap_or_default();
    Some(format!("{group}/{version} is not available: {why}"))
}

/// Returns the errors that a failed kubectl printed, without warnings and log lines.
fn errors(printed: &str) -> Vec<String> {
    let errors = printed.lines().filter(|line| {
        let line = line.to_ascii_lowercase();
        line.starts_with("error") || line.starts_with("unable")
    });
    let errors: Vec<String> = errors
        .map(|line| line.strip_prefix("error: ").unwrap_or(line).to_owned())
        .collect();
    if errors.is_empty() {
        vec![printed.trim().to_owned()]
    } else {
        errors
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{errors, outage};

    #[test]
    fn an_aggregated_api_is_down_if_its_condition_says_so() {
        let service = |conditions| {
            outage(&json!({
                "spec": {"group": "g", "version": "v1"}, "status": {"conditions": conditions},
            }))
        };
        let down = json!([{"type": "Available", "status": "False", "message": "no endpoints"}]);
        assert_eq!(
            service(down).as_deref(),
            Some("g/v1 is not available: no endpoints")
        );
        for up in [
            json!([]),
            json!(null),
            json!([{"type": "Available", "status": "True"}]),
        ] {
            assert_eq!(service(up), None);
        }
    }

    #[test]
    fn warnings_and_log_lines_are_no_errors() {
        let printed = "Warning: v1 Endpoints is deprecated\n\
            E1130 09:00:00.000000  1 memcache.go:265] couldn't get resource list\n\
            error: unable to retrieve the complete list of server APIs: a/v1: stale\n\
            Error from server (Forbidden): b is forbidden\n";
        let expected = [
            "unable to retrieve the complete list of server APIs: a/v1: stale",
            "Error from server (Forbidden): b is forbidden",
        ];
        assert_eq!(errors(printed), expected);
        assert_eq!(errors("Unknown\n"), ["Unknown"]);
    }
}
