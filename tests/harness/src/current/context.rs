//! Which cluster the demo may use: the name of the current context decides, before anything is sent to the cluster.

/// Beginnings of the names of contexts that local clusters have.
const LOCAL_BEGINNINGS: [&str; 2] = ["kind-", "k3d-"];
/// Whole names of contexts that local clusters have.
const LOCAL_NAMES: [&str; 2] = ["minikube", "docker-desktop"];

/// Decides whether the demo may use the current context. `typed` is the name that the user typed out. Returns the
/// reason if it may not.
pub(super) fn allowed(current: &str, typed: Option<&str>) -> Result<(), String> {
    if current.is_empty() {
        return Err(
            "the kubeconfig has no current context: `kubectl config use-context NAME` sets one".to_owned(),
        );
    }
    if let Some(typed) = typed {
        if typed == current {
            return Ok(());
        }
        return Err(format!(
            "CONTEXT is {typed}, and the current context is {current}: type CONTEXT={current}, or run \
             `kubectl config use-context {typed}` first"
        ));
    }
    let begins = |name: &&str| current.starts_with(*name) && current != *name;
    if LOCAL_BEGINNINGS.iter().any(begins) || LOCAL_NAMES.contains(&current) {
        return Ok(());
    }
    Err(format!(
        "the current context {current} is none of kind-*, k3d-*, minikube and docker-desktop: if the demo may create \
         objects there, type CONTEXT={current}"
    ))
}

#[cfg(test)]
mod tests {
    use super::allowed;

    #[test]
    fn contexts_of_local_clusters_need_no_confirmation() {
        for local in ["kind-kind", "k3d-dev", "minikube", "docker-desktop"] {
            assert_eq!(allowed(local, None), Ok(()));
        }
    }

    #[test]
    fn any_other_context_must_be_typed_out() {
        for other in [
            "prod",
            "kind",
            "kind-",
            "my-kind-prod",
            "minikube-prod",
            "docker-desktop2",
            "K3D-dev",
        ] {
            let refused = allowed(other, None).unwrap_err();
            assert!(refused.ends_with(&format!("type CONTEXT={other}")), "{refused}");
            assert_eq!(allowed(other, Some(other)), Ok(()));
        }
    }

    #[test]
    fn another_name_than_that_of_the_current_context_is_refused() {
        for current in ["prod", "kind-dev"] {
            let refused = allowed(current, Some("kind-kind")).unwrap_err();
            assert!(refused.contains(&format!("CONTEXT={current}")), "{refused}");
        }
        assert!(allowed("", None).is_err() && allowed("", Some("")).is_err());
    }
}
