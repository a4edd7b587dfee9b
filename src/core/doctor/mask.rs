//! Replaces what identifies an account or its data in a report, so that the report can be shown to others.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::network::host_of;
use super::short_names::{announces_name, is_word};
use super::{EndpointFacts, Facts, Service};

/// Shortest run of digits that counts as an account number, wherever it comes from.
const ACCOUNT_DIGITS: usize = 12;

/// Texts to replace, and what replaces them.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    names: BTreeMap<String, String>,
}

impl Mask {
    /// Collects account numbers, buckets, keys, projects, the names of Secrets and ServiceAccounts, and hosts and
    /// addresses of a private network.
    pub fn of(facts: &Facts) -> Self {
        let mut mask = Self::default();
        for endpoint in &facts.endpoints {
            mask.add_hosts(endpoint);
        }
        if let Some(grant) = &facts.grant {
            let spec = &grant.spec;
            mask.add("owner-account", &spec.bucket.owner_uid);
            mask.add("imm-account", &spec.grantee.account_uid);
            mask.add("bucket", &spec.bucket.name);
            for prefix in &spec.access.prefixes {
                mask.add("prefix", prefix);
            }
            mask.add_session(spec.grantee.session_name.as_ref());
            mask.add_origin(&grant.credentials.origin);
            if let Some(bucket) = &grant.bucket {
                let owner = bucket.info.as_ref().ok().and_then(|info| info.owner_uid.as_ref());
                for account in owner.into_iter().chain(bucket.account.as_ref().ok()) {
                    mask.add("account", account);
                }
            }
        }
        if let Some(job) = &facts.job {
            let spec = &job.spec;
            mask.add("imm-account", &spec.project.account_uid);
            mask.add("project", &spec.project.name);
            if let Some(Ok(account)) = &job.account {
                mask.add("account", account);
            }
            mask.add_origin(&job.credentials.origin);
            let listing = job
                .listing
                .as_ref()
                .and_then(|listing| listing.credentials.as_ref());
            if let Some(credentials) = listing {
                mask.add_origin(&credentials.origin);
            }
            if let Some(prefix) = &spec.source.prefix {
                mask.add("bucket", &prefix.bucket);
                mask.add("prefix", &prefix.prefix);
            }
            let manifest = spec.source.manifest.iter().map(|manifest| &manifest.uri);
            for uri in spec.source.uris.iter().chain(manifest) {
                let path = uri.strip_prefix("oss://").unwrap_or(uri);
                let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
                mask.add("bucket", bucket);
                mask.add("object", key);
            }
        }
        if let Some(probe) = &facts.probe {
            mask.add("bucket", &probe.bucket);
            mask.add("object", &probe.key);
            mask.add("file", &probe.file);
        }
        if let Some(log) = &facts.access_log {
            mask.add("file", &log.file);
            // A report names a session only if it is the only one.
            if !log.log.has_several_sessions() {
                mask.add_session(log.log.sessions.first());
            }
        }
        if let Some(limits) = &facts.limits {
            mask.add("bucket", &limits.bucket);
            mask.add("file", &limits.file);
            for key in &limits.keys {
                mask.add("object", key);
            }
        }
        if let Some(ways) = &facts.ways {
            mask.add("bucket", &ways.bucket);
            mask.add("object", &ways.key);
            mask.add("file", &ways.file);
        }
        if let Some(forms) = &facts.forms {
            mask.add("bucket", &forms.bucket);
            mask.add("file", &forms.file);
        }
        mask
    }

    /// The mask of a report about a file, whose name may contain that of a bucket.
    pub fn of_file(file: &str) -> Self {
        let mut mask = Self::default();
        mask.add("file", file);
        mask
    }

    fn add(&mut self, kind: &str, name: &str) {
        if name.is_empty() || self.names.contains_key(name) {
            return;
        }
        let same = self
            .names
            .values()
            .filter(|given| given.rsplit_once('-').is_some_and(|(front, _)| front == kind))
            .count();
        self.names.insert(name.to_owned(), format!("{kind}-{}", same + 1));
    }

    /// Adds the proxy, a host that is not Alibaba Cloud's, and private addresses.
    fn add_hosts(&mut self, endpoint: &EndpointFacts) {
        if let Some(proxy) = &endpoint.proxy {
            self.add("proxy", host_of(proxy));
            self.add_name("proxy", name_of(host_of(proxy)));
        }
        let name = name_of(host_of(&endpoint.url));
        if !name.ends_with(".aliyuncs.com") {
            self.add_name("host", name);
        }
        // The name of a Service has no dot, and an address of the link is not private.
        if endpoint.service == Service::CredentialsUri && name != "localhost" && !name.starts_with("127.") {
            self.add("host", name);
        }
        for address in endpoint
            .reached
            .addresses()
            .iter()
            .filter(|address| is_private(address))
        {
            self.add("address", &address.to_string());
        }
    }

    /// Adds a DNS name or a private address. A name without a dot may be a word of the report.
    fn add_name(&mut self, kind: &str, name: &str) {
        if name.contains(['.', ':']) && name.parse().as_ref().map_or(true, is_private) {
            self.add(kind, name);
        }
    }

    fn add_session(&mut self, name: Option<&String>) {
        if let Some(name) = name {
            self.add("session", name);
        }
    }

    /// Adds the name in `Secret NAME` or `ServiceAccount NAME`.
    fn add_origin(&mut self, origin: &str) {
        let name = origin
            .strip_prefix("Secret ")
            .or_else(|| origin.strip_prefix("ServiceAccount "));
        if let Some(name) = name {
            self.add("credentials", name);
        }
    }

    /// Replaces all names, the longest first, and every other long number. A name that is also a word of many
    /// sentences, such as a prefix of one letter, is replaced only where the report writes a name.
    pub fn apply(&self, text: &str) -> String {
        let mut names: Vec<(&String, &String)> = self.names.iter().collect();
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        let mut masked = String::with_capacity(text.len());
        let mut rest = text;
        let mut before = None;
        while let Some(first) = rest.chars().next() {
            let ahead = text.get(..text.len() - rest.len()).unwrap_or_default();
            let found = names.iter().find(|(name, _)| {
                rest.starts_with(name.as_str())
                    && is_whole(before, name, rest)
                    && (!is_word(name) || announces_name(ahead))
            });
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            let number = digits.len() >= ACCOUNT_DIGITS && before.is_none_or(|c: char| !c.is_alphanumeric());
            let (length, shown) = match found {
                Some((name, shown)) => (name.len(), shown.as_str()),
                None if number => (digits.len(), "account"),
                None => {
                    masked.push(first);
                    before = Some(first);
                    rest = rest.get(first.len_utf8()..).unwrap_or_default();
                    continue;
                }
            };
            masked.push_str(shown);
            before = rest.get(..length).and_then(|name| name.chars().next_back());
            rest = rest.get(length..).unwrap_or_default();
        }
        masked
    }
}

/// A host without its port, and an IPv6 address without its brackets.
fn name_of(host: &str) -> &str {
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    bracketed.map_or(name, |(address, _)| address)
}

fn is_private(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private(),
        IpAddr::V6(address) => address.is_unique_local(),
    }
}

/// Whether an occurrence at the start of a text is not a part of a longer name.
fn is_whole(before: Option<char>, name: &str, rest: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    let after = rest.get(name.len()..).and_then(|rest| rest.chars().next());
    let starts = name.chars().next().is_some_and(inner);
    let ends = name.chars().next_back().is_some_and(inner);
    let continues = (starts && before.is_some_and(inner)) || (ends && after.is_some_and(inner));
    !continues
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::doctor::{Reachability, Service};

    #[test]
    fn the_name_of_a_file_is_replaced_although_it_contains_a_bucket() {
        let file = "imm-operator-doctor-pics.json";
        let mask = Mask::of_file(file);
        assert_eq!(mask.apply(&format!("see {file}: no")), "see file-1: no");
    }

    #[test]
    fn whole_names_are_replaced_wherever_they_are() {
        let mut mask = Mask::default();
        for (kind, name) in [
            ("bucket", "pics"),
            ("bucket", "pics-2024"),
            ("owner-account", "65432"),
            ("prefix", "photos/ü/"),
            ("object", "photos/ü/a.jpg"),
            ("prefix", "a"),
            ("prefix", "ü/"),
            ("credentials", "is"),
            ("object", "7"),
        ] {
            mask.add(kind, name);
        }
        for (text, masked) in [
            (
                "https://pics.oss-cn-x.aliyuncs.com",
                "https://bucket-1.oss-cn-x.aliyuncs.com",
            ),
            (
                "acs:oss:*:65432:pics-2024/*",
                "acs:oss:*:owner-account-1:bucket-2/*",
            ),
            ("oss://pics/photos/ü/a.jpg", "oss://bucket-1/object-1"),
            ("photos/ü/b.jpg", "prefix-1b.jpg"),
            ("topics and pics-x", "topics and pics-x"),
            (
                "a policy at ü/ is not public",
                "a policy at prefix-3 is not public",
            ),
            (
                "every key below oss://pics/a: no",
                "every key below oss://bucket-1/prefix-2: no",
            ),
            ("oss://pics/a/b.jpg", "oss://bucket-1/prefix-2/b.jpg"),
            (
                "Secret is: found, and it is one",
                "Secret credentials-1: found, and it is one",
            ),
            ("object 7: 7 calls", "object object-2: 7 calls"),
            ("ü 1234567890123456.", "ü account."),
            (
                "request id 5F1234567890123456AB",
                "request id 5F1234567890123456AB",
            ),
            ("16384 bytes", "16384 bytes"),
        ] {
            assert_eq!(mask.apply(text), masked);
        }
    }

    #[test]
    fn hosts_and_addresses_of_a_private_network_are_replaced() {
        let endpoint = |url: &str, proxy: Option<&str>, address: &str| EndpointFacts {
            service: Service::Oss,
            region: "cn-hangzhou".to_owned(),
            url: url.to_owned(),
            proxy: proxy.map(ToOwned::to_owned),
            reached: Reachability::NoConnection {
                addresses: vec![address.parse().unwrap()],
            },
            answering: Vec::new(),
        };
        let facts = Facts {
            endpoints: vec![
                endpoint(
                    "https://oss-cn-x.aliyuncs.com",
                    Some("http://me:pw@proxy.corp:3128"),
                    "10.0.0.8",
                ),
                endpoint("https://oss.corp:8443/", None, "203.0.113.7"),
                endpoint("https://[2001:db8::7]/", Some("http://[fd00::8]:3128"), "fd00::7"),
            ],
            ..Facts::default()
        };
        let mask = Mask::of(&facts);
        for (text, masked) in [
            ("proxy.corp:3128 is 10.0.0.8", "proxy-1 is address-1"),
            ("no DNS name proxy.corp", "no DNS name proxy-2"),
            ("2001:db8::7 and 2001:db8:", "2001:db8::7 and 2001:db8:"),
            (
                "[fd00::8]:3128 or fd00::8 is fd00::7",
                "proxy-3 or proxy-4 is address-2",
            ),
            ("oss.corp:8443 is 203.0.113.7", "host-1:8443 is 203.0.113.7"),
            ("oss-cn-x.aliyuncs.com", "oss-cn-x.aliyuncs.com"),
        ] {
            assert_eq!(mask.apply(text), masked);
        }
    }
}
