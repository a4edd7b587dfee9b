//! What the calls of `doctor` need, and the credentials that they use.

use super::args::{DoctorArgs, KeysFrom};
use crate::api::Credentials;
use crate::app::{CallerCredentials, CallersCluster, OperatorIdentity, resolve_endpoints};
use crate::cli::environment::{credentials_with_prefix, variable};
use crate::cloud::Cloud;
use crate::core::doctor::CredentialFacts;
use crate::core::endpoints::{EndpointSettings, Endpoints};
use crate::core::identity::{CredentialOrigin, Identity, SessionScope};
use crate::core::proxy::ProxyVariables;
use crate::ports::AccessKeys;

/// Everything that the calls need.
pub(super) struct Collector<'a> {
    pub(super) flags: &'a DoctorArgs,
    pub(super) settings: EndpointSettings,
    pub(super) endpoints: Endpoints,
    pub(super) cloud: Cloud,
    pub(super) proxies: ProxyVariables,
    given: OperatorIdentity,
    pub(super) cluster: Option<CallersCluster>,
}

impl<'a> Collector<'a> {
    pub(super) async fn new(
        flags: &'a DoctorArgs,
        given: OperatorIdentity,
        cluster: Option<CallersCluster>,
    ) -> Result<Self, String> {
        let settings = flags.cloud.endpoints();
        let endpoints = resolve_endpoints(&settings, &given)
            .await
            .map_err(|error| error.to_string())?;
        let cloud = Cloud::new(endpoints.clone()).map_err(|error| error.to_string())?;
        Ok(Self {
            proxies: proxies(flags),
            flags,
            settings,
            endpoints,
            cloud,
            given,
            cluster,
        })
    }

    /// Returns credentials for an object, and how they were obtained.
    pub(super) async fn keys(
        &self,
        whose: &str,
        namespace: &str,
        stored: bool,
        credentials: &Credentials,
        scope: &SessionScope,
    ) -> Result<(CredentialFacts, Option<AccessKeys>), String> {
        let Some(identity) = Identity::of(namespace, credentials) else {
            return Err("spec.credentials lacks the block that its source requires".to_owned());
        };
        let from_cluster = self.flags.keys.map_or(stored, |from| from == KeysFrom::Cluster);
        let prefix = format!("IMM_OPERATOR_{whose}_");
        let own = credentials_with_prefix(&prefix).map(OperatorIdentity::Static);
        let given = own.as_ref().unwrap_or(&self.given);
        let given_name = match &own {
            Some(_) => format!("AccessKey pair in {prefix}ACCESS_KEY_ID"),
            None => given_name(given).to_owned(),
        };
        let is_account = matches!(identity.origin, CredentialOrigin::ServiceAccount { .. });
        let is_operator = matches!(identity.origin, CredentialOrigin::Operator { .. });
        let (origin, source) = match &self.cluster {
            // The operator's own identity is not the caller's to use: what the caller has stands in for it.
            Some(cluster) if from_cluster && !is_operator => (
                identity.describe(),
                CallerCredentials::Cluster(cluster.kubernetes()),
            ),
            _ => (given_name, CallerCredentials::Given(given)),
        };
        let by_token = match source {
            CallerCredentials::Cluster(_) => is_account,
            CallerCredentials::Given(given) => matches!(given, OperatorIdentity::Token { .. }),
        };
        let (keys, result) = match source.keys(&self.cloud, &identity, scope).await {
            Ok(keys) => (Some(keys), Ok(())),
            Err(error) => (None, Err(error)),
        };
        let facts = CredentialFacts {
            origin,
            by_token,
            result,
        };
        Ok((facts, keys))
    }
}

/// Returns the proxies that the HTTP client of the cloud uses.
fn proxies(flags: &DoctorArgs) -> ProxyVariables {
    let proxies = flags.cluster.options().proxies;
    let all = variable("ALL_PROXY").or_else(|| variable("all_proxy"));
    ProxyVariables {
        https: proxies.https.or_else(|| all.clone()),
        http: proxies.http.or(all),
        ..proxies
    }
}

fn given_name(given: &OperatorIdentity) -> &'static str {
    match given {
        OperatorIdentity::None => "credentials in the environment",
        OperatorIdentity::Static(_) => "AccessKey pair in ALIBABA_CLOUD_ACCESS_KEY_ID",
        OperatorIdentity::Folder(_) => "folder of --credentials-folder",
        OperatorIdentity::Token { .. } => "token file in the environment",
        OperatorIdentity::Instance { .. } => "RAM role of the ECS instance",
        OperatorIdentity::Uri(_) => "credentials URI",
    }
}
