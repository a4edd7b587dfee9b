//! Looks at the endpoints: which would be used, how far a connection to each gets, and which names of OSS serve objects.

use super::DoctorArgs;
use super::collect::Collector;
use crate::cli::variable;
use crate::cloud::Cloud;
use crate::core::doctor::{EndpointFacts, Reachability, Service, VariantFacts};
use crate::core::endpoints::{EndpointSettings, variants_of};
use crate::core::place::{BucketPlace, ProjectPlace};
use crate::core::proxy::{ProxyVariables, with_scheme};
use crate::kubernetes::now;
use crate::ports::{AccessKeys, ListPosition};

impl Collector<'_> {
    /// Asks every name of OSS in the region for the objects of a bucket.
    pub(super) async fn variants(
        &self,
        bucket: &BucketPlace,
        prefix: &str,
        keys: &AccessKeys,
    ) -> Vec<VariantFacts> {
        let used = self.endpoints.oss_service(bucket);
        let mut found = Vec::new();
        for variant in variants_of(&used, bucket.region()) {
            let settings = EndpointSettings {
                oss: vec![variant.url.clone()],
                ..self.settings.clone()
            };
            let resolved = settings.resolve(self.endpoints.own_region().map(ToOwned::to_owned));
            let Some(cloud) = resolved.ok().and_then(|endpoints| Cloud::new(endpoints).ok()) else {
                continue;
            };
            let start = ListPosition::default();
            let listed = cloud.list_objects(bucket, prefix, &start, keys, now()).await;
            found.push(VariantFacts {
                kind: variant.kind,
                url: variant.url,
                region: bucket.region().to_owned(),
                in_use: variant.in_use,
                objects: listed.map(|_| ()),
            });
        }
        found
    }

    pub(super) async fn reach_all(
        &self,
        bucket: Option<&BucketPlace>,
        source: Option<&BucketPlace>,
        project: Option<&ProjectPlace>,
    ) -> Vec<EndpointFacts> {
        let mut wanted: Vec<(Service, String, String, String)> = Vec::new();
        for place in bucket.into_iter().chain(source) {
            let (service, own) = (self.endpoints.oss_service(place), self.endpoints.bucket(place));
            wanted.push((Service::Oss, place.region().to_owned(), service, own));
        }
        if let Some(project) = project.filter(|_| !self.flags.no_imm) {
            let url = self.endpoints.imm(project);
            wanted.push((Service::Imm, project.region().to_owned(), url.clone(), url));
        }
        let region = bucket
            .map(BucketPlace::region)
            .or(project.map(ProjectPlace::region));
        let url = self.endpoints.sts();
        wanted.push((
            Service::Sts,
            region.unwrap_or_default().to_owned(),
            url.clone(),
            url,
        ));
        wanted.dedup();
        let mut found = Vec::new();
        for (service, region, base, url) in wanted {
            let reached = self.reach(service, &url).await;
            let mut answering = Vec::new();
            if !reached.is_answered() {
                for variant in variants_of(&base, &region) {
                    let answers = !variant.in_use && self.reach(service, &variant.url).await.is_answered();
                    answering.extend(answers.then_some(variant.url));
                }
            }
            found.push(EndpointFacts {
                service,
                region,
                proxy: self.proxy_for(&url),
                url,
                reached,
                answering,
            });
        }
        found
    }

    /// Sends one unsigned request. At OSS, it asks for the location of the bucket, which is never public.
    async fn reach(&self, service: Service, url: &str) -> Reachability {
        let url = url.trim_end_matches('/');
        let question = match service {
            Service::Oss => format!("{url}/?location"),
            Service::Imm | Service::Sts => format!("{url}/"),
        };
        self.cloud
            .reach(&question, self.proxy_for(url).as_deref(), now)
            .await
    }

    fn proxy_for(&self, url: &str) -> Option<String> {
        let (scheme, rest) = url.split_once("://")?;
        let authority = rest.split('/').next().unwrap_or_default();
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (authority, if scheme == "https" { 443 } else { 80 }),
        };
        self.proxies.proxy_for(scheme, host, port).map(with_scheme)
    }
}

/// Returns the proxies that the HTTP client of the cloud uses.
pub(super) fn proxies(flags: &DoctorArgs) -> ProxyVariables {
    let proxies = flags.cluster.options().proxies;
    let all = variable("ALL_PROXY").or_else(|| variable("all_proxy"));
    ProxyVariables {
        https: proxies.https.or_else(|| all.clone()),
        http: proxies.http.or(all),
        ..proxies
    }
}
