//! The scopes of requests about the watched namespaces.

/// Returns the namespaces to ask about; one `None`, which stands for all, if none are named.
pub fn scopes(namespaces: &[String]) -> Vec<Option<&String>> {
    if namespaces.is_empty() {
        return vec![None];
    }
    namespaces.iter().map(Some).collect()
}
