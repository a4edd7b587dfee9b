//! What the calls of `doctor` need, and the credentials that they use.

use futures::future::BoxFuture;

use super::args::{DoctorArgs, KeysFrom};
use super::error::DoctorError;
use super::probe_keys::KeySource;
use crate::api::Credentials;
use crate::app::{CallerCredentials, CallersCluster, OperatorIdentity, TokenExchange, resolve_endpoints};
use crate::cli::environment::{credentials_with_prefix, variable};
use crate::cloud::Cloud;
use crate::core::doctor::{CredentialFacts, missing_credentials};
use crate::core::endpoints::{EndpointSettings, Endpoints};
use crate::core::identity::{CredentialOrigin, Identity, SessionScope};
use crate::core::proxy::ProxyVariables;
use crate::kubernetes::Kubernetes;
use crate::ports::{AccessKeys, CredentialsError};

/// Namespace of an object, and whether it is in the cluster.
pub(super) type Subject = (String, bool);

/// Everything that the calls need.
pub(super) struct Collector<'a> {
    pub(super) flags: &'a DoctorArgs,
    pub(super) settings: EndpointSettings,
    pub(super) endpoints: Endpoints,
    pub(super) cloud: Cloud,
    pub(super) proxies: ProxyVariables,
    pub(super) given: OperatorIdentity,
    pub(super) cluster: Option<CallersCluster>,
}

impl<'a> Collector<'a> {
    pub(super) async fn new(
        flags: &'a DoctorArgs,
        given: OperatorIdentity,
        cluster: Option<CallersCluster>,
    ) -> Result<Self, DoctorError> {
        let settings = flags.cloud.endpoints();
        let endpoints = resolve_endpoints(&settings, &given).await?;
        let cloud = Cloud::new(endpoints.clone())?;
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

    /// Returns where the credentials of an object come from.
    ///
    /// # Errors
    /// Returns the message if the reference is incomplete.
    pub(super) fn source(
        &self,
        whose: &str,
        (namespace, stored): (&str, bool),
        credentials: &Credentials,
        scope: &SessionScope,
    ) -> Result<ObjectKeys<'_>, DoctorError> {
        let Some(identity) = Identity::of(namespace, credentials) else {
            return Err("spec.credentials lacks the block that its source requires".into());
        };
        let from_cluster = self.flags.keys.map_or(stored, |from| from == KeysFrom::Cluster);
        let prefix = format!("IMM_OPERATOR_{whose}_");
        let own = credentials_with_prefix(&prefix).map(OperatorIdentity::Static);
        let given_name = match &own {
            Some(_) => format!("AccessKey pair in {prefix}ACCESS_KEY_ID"),
            None => given_name(&self.given).to_owned(),
        };
        // The operator's own identity is not the caller's to use: what the caller has stands in for it.
        let cluster = self.cluster.as_ref().map(|cluster| &cluster.kubernetes);
        let cluster = cluster.filter(|_| from_cluster && !identity.is_operator());
        Ok(ObjectKeys {
            cloud: &self.cloud,
            cluster,
            given: own.unwrap_or_else(|| self.given.clone()),
            origin: cluster.map_or(given_name, |_| identity.describe()),
            identity,
            scope: scope.clone(),
        })
    }

    /// Returns credentials for an object, and how they were obtained.
    pub(super) async fn keys(
        &self,
        whose: &str,
        subject: (&str, bool),
        credentials: &Credentials,
        scope: &SessionScope,
    ) -> Result<(CredentialFacts, Option<AccessKeys>), DoctorError> {
        let source = self.source(whose, subject, credentials, scope)?;
        let (keys, result) = match source.credentials().await {
            Ok(keys) => (Some(keys), Ok(())),
            Err(error) => (None, Err(error)),
        };
        Ok((source.facts(result), keys))
    }
}

/// Where the credentials of an object come from.
pub(super) struct ObjectKeys<'a> {
    cloud: &'a Cloud,
    /// The cluster that has them.
    cluster: Option<&'a Kubernetes>,
    given: OperatorIdentity,
    origin: String,
    identity: Identity,
    scope: SessionScope,
}

impl ObjectKeys<'_> {
    /// Returns the same with another scope; `None` if the credentials are not restricted to a scope.
    pub(super) fn with_scope(&self, scope: SessionScope) -> Option<Self> {
        let is_scoped = self.identity.assumed_role.is_some()
            || (self.cluster.is_some() && self.identity.uses_sts_session());
        is_scoped.then(|| Self {
            cloud: self.cloud,
            cluster: self.cluster,
            given: self.given.clone(),
            origin: self.origin.clone(),
            identity: self.identity.clone(),
            scope,
        })
    }

    fn caller(&self) -> CallerCredentials<'_> {
        self.cluster
            .map_or(CallerCredentials::Given(&self.given), CallerCredentials::Cluster)
    }

    /// Obtains the credentials, with a new session if they are one of STS.
    pub(super) async fn credentials(&self) -> Result<AccessKeys, CredentialsError> {
        let source = self.caller();
        source.keys(self.cloud, &self.identity, &self.scope).await
    }

    /// Returns the token that is exchanged for the credentials; `None` if there is none, or it cannot be had.
    pub(super) async fn token_exchange(&self) -> Option<TokenExchange> {
        let source = self.caller();
        let exchange = source.token_exchange(&self.identity, &self.scope).await;
        exchange.ok().flatten()
    }

    fn is_by_token(&self) -> bool {
        match self.cluster {
            Some(_) => matches!(self.identity.origin, CredentialOrigin::ServiceAccount { .. }),
            None => matches!(self.given, OperatorIdentity::Token { .. }),
        }
    }

    /// Whether obtaining the credentials opens a session at STS.
    pub(super) fn opens_session(&self) -> bool {
        self.identity.assumed_role.is_some() || self.is_by_token()
    }

    fn facts(&self, result: Result<(), CredentialsError>) -> CredentialFacts {
        CredentialFacts {
            origin: self.origin.clone(),
            by_token: self.is_by_token(),
            result,
        }
    }
}

impl KeySource for ObjectKeys<'_> {
    fn obtain(&self) -> BoxFuture<'_, Result<AccessKeys, DoctorError>> {
        Box::pin(async {
            let obtained = self.credentials().await;
            obtained.map_err(|source| DoctorError::NoKeys {
                why: missing_credentials(&self.facts(Err(source.clone()))).unwrap_or_default(),
                source: Box::new(source),
            })
        })
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
