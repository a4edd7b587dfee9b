//! Looks at the endpoints: which would be used, how far a connection to each gets, and which names of OSS serve objects.

use super::collector::Collector;
use crate::api::RequestPayer;
use crate::app::OperatorIdentity;
use crate::cloud::{Cloud, answer_head, oss_objects, reachability};
use crate::core::doctor::{EndpointFacts, NameAnswers, Reachability, Service, VariantFacts};
use crate::core::endpoints::{EndpointSettings, accelerated, variants_of};
use crate::core::place::{BucketPlace, ObjectPlace, ProjectPlace};
use crate::core::proxy::with_scheme;
use crate::kubernetes::now;
use crate::ports::{AccessKeys, CloudError, ListPosition};

/// Asks every name of OSS in the region for the objects of a bucket.
pub(super) async fn variants(
    collector: &Collector<'_>,
    bucket: &BucketPlace,
    (prefix, payer): (&str, RequestPayer),
    keys: &AccessKeys,
) -> Vec<VariantFacts> {
    let used = collector.endpoints.oss_service(bucket);
    let mut found = Vec::new();
    for variant in variants_of(&used, bucket.region()) {
        let Some(cloud) = cloud_at(collector, &variant.url) else {
            continue;
        };
        let start = ListPosition::default();
        let listed = oss_objects::list_objects(&cloud, bucket, prefix, &start, payer, keys, now()).await;
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

/// A client for one name of OSS.
fn cloud_at(collector: &Collector<'_>, url: &str) -> Option<Cloud> {
    let settings = EndpointSettings {
        oss: vec![url.to_owned()],
        ..collector.settings.clone()
    };
    let resolved = settings.resolve(collector.endpoints.own_region().map(ToOwned::to_owned));
    Cloud::new(resolved.ok()?).ok()
}

/// What is asked at every name of OSS, with the credentials for it.
pub(super) struct AskedNames<'a> {
    /// The bucket, the prefix and the payer of a list.
    pub(super) listed: (&'a BucketPlace, &'a str, RequestPayer, &'a AccessKeys),
    /// An object of the same bucket.
    pub(super) object: Option<ObjectPlace>,
    /// The bucket of the grant.
    pub(super) policy: Option<(&'a BucketPlace, &'a AccessKeys)>,
}

/// Asks every name of OSS for an object and for the policy. What they answer to a list is known from `variants`,
/// except for the name for acceleration, which is asked only if the flag says so.
pub(super) async fn name_answers(
    collector: &Collector<'_>,
    variants: &[VariantFacts],
    asked: &AskedNames<'_>,
) -> Vec<NameAnswers> {
    let (bucket, prefix, payer, keys) = asked.listed;
    let mut found = Vec::new();
    for variant in variants {
        if let Some(cloud) = cloud_at(collector, &variant.url) {
            let list = variant.objects.clone();
            found.push(answers_at(&cloud, variant.kind, list, asked).await);
        }
    }
    let used = collector.endpoints.oss_service(bucket);
    let used = variants_of(&used, bucket.region()).into_iter().next();
    let billed = used.filter(|_| collector.flags.accelerate);
    if let Some(name) = billed.and_then(|used| accelerated(&used))
        && let Some(cloud) = cloud_at(collector, &name.url)
    {
        let start = ListPosition::default();
        let list = oss_objects::list_objects(&cloud, bucket, prefix, &start, payer, keys, now());
        let list = list.await.map(|_| ());
        found.push(answers_at(&cloud, name.kind, list, asked).await);
    }
    found
}

async fn answers_at(
    cloud: &Cloud,
    kind: &'static str,
    list: Result<(), CloudError>,
    asked: &AskedNames<'_>,
) -> NameAnswers {
    let (_, _, payer, keys) = asked.listed;
    let object = match &asked.object {
        Some(object) => {
            let read = oss_objects::read_object(cloud, object, 0..1, None, payer, keys, now());
            Some(read.await.map(|_| ()))
        }
        None => None,
    };
    let policy = match asked.policy {
        Some((bucket, keys)) => {
            Some(answer_head::answer_about_bucket(cloud, bucket, "policy", keys, now()).await)
        }
        None => None,
    };
    NameAnswers {
        kind,
        list,
        object,
        policy,
    }
}

/// Looks at every endpoint that would be used.
pub(super) async fn reach_all(
    collector: &Collector<'_>,
    bucket: Option<&BucketPlace>,
    source: Option<&BucketPlace>,
    project: Option<&ProjectPlace>,
) -> Vec<EndpointFacts> {
    let mut wanted: Vec<(Service, String, String, String)> = Vec::new();
    for place in bucket.into_iter().chain(source) {
        let (service, own) = (
            collector.endpoints.oss_service(place),
            collector.endpoints.bucket(place),
        );
        wanted.push((Service::Oss, place.region().to_owned(), service, own));
    }
    if let Some(project) = project.filter(|_| !collector.flags.no_imm) {
        let url = collector.endpoints.imm(project);
        wanted.push((Service::Imm, project.region().to_owned(), url.clone(), url));
    }
    // STS is called where the operator runs, as far as that is known.
    let own = collector.endpoints.own_region();
    let region = own
        .or(bucket.map(BucketPlace::region))
        .or(project.map(ProjectPlace::region));
    let url = collector.endpoints.sts();
    wanted.push((
        Service::Sts,
        region.unwrap_or_default().to_owned(),
        url.clone(),
        url,
    ));
    wanted.dedup();
    // The settings of an account are read at the host of the service, whose name differs from that of an address with a
    // bucket.
    if let Some(place) = bucket {
        let url = collector.endpoints.oss_service(place);
        if !collector.endpoints.bucket(place).starts_with(&url) {
            let region = place.region().to_owned();
            wanted.push((Service::OssAccount, region, url.clone(), url));
        }
    }
    let mut found = Vec::new();
    for (service, region, base, url) in wanted {
        let reached = reach(collector, service, &url).await;
        let mut answering = Vec::new();
        if !reached.is_answered() {
            for variant in variants_of(&base, &region) {
                let answers = !variant.in_use && reach(collector, service, &variant.url).await.is_answered();
                answering.extend(answers.then_some(variant.url));
            }
        }
        found.push(EndpointFacts {
            service,
            region,
            proxy: proxy_for(collector, &url),
            url,
            reached,
            answering,
        });
    }
    found.extend(machine_service(&collector.given).await);
    found
}

/// The service of the machine that gives the operator its own credentials. It is asked directly, as for credentials.
async fn machine_service(given: &OperatorIdentity) -> Option<EndpointFacts> {
    let (service, url, reached) = match given {
        OperatorIdentity::Instance { service, .. } => (
            Service::Metadata,
            service.url().to_owned(),
            service.reach(now).await,
        ),
        OperatorIdentity::Uri(uri) => (Service::CredentialsUri, uri.root(), uri.reach(now).await),
        OperatorIdentity::None
        | OperatorIdentity::Static(_)
        | OperatorIdentity::Folder(_)
        | OperatorIdentity::Token { .. } => return None,
    };
    Some(EndpointFacts {
        service,
        region: String::new(),
        proxy: None,
        url,
        reached,
        answering: Vec::new(),
    })
}

/// Sends one unsigned request. At OSS, it asks for the location of the bucket, which is never public.
async fn reach(collector: &Collector<'_>, service: Service, url: &str) -> Reachability {
    let url = url.trim_end_matches('/');
    let question = match service {
        Service::Oss => format!("{url}/?location"),
        Service::OssAccount => format!("{url}/?publicAccessBlock"),
        Service::Imm | Service::Sts | Service::Metadata | Service::CredentialsUri => format!("{url}/"),
    };
    reachability::reach(
        &collector.cloud,
        &question,
        proxy_for(collector, url).as_deref(),
        now,
    )
    .await
}

fn proxy_for(collector: &Collector<'_>, url: &str) -> Option<String> {
    collector.proxies.proxy_of(&url.parse().ok()?).map(with_scheme)
}
