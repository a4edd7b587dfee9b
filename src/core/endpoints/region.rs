//! The region that the operator itself runs in. Internal names of the cloud's services resolve in one region only, so it
//! is asked for only when such a name is used. It can be a finance region: buckets and projects are in other regions
//! then.

use super::EndpointError;
use crate::core::validate::check_region_id;

/// The places that can name the operator's own region, by precedence. Empty texts count as absent.
#[derive(Clone, Debug, Default)]
pub struct RegionSources {
    /// `--region`.
    pub flag: Option<String>,
    /// `ALIBABA_CLOUD_STS_REGION`, which ACK's webhook sets.
    pub sts_region: Option<String>,
    /// The label `topology.kubernetes.io/region` of the Pod.
    pub pod_label: Option<String>,
}

impl RegionSources {
    /// Returns the region that the first source names. `None` without a source.
    ///
    /// A label is set for all clouds and is no statement about this one: a value that is no region of Alibaba Cloud
    /// counts as absent.
    ///
    /// # Errors
    /// The name of the source whose value is not a region.
    pub fn named(&self) -> Result<Option<String>, EndpointError> {
        for (source, value) in [
            ("--region", &self.flag),
            ("ALIBABA_CLOUD_STS_REGION", &self.sts_region),
        ] {
            if let Some(region) = given(value.as_deref()) {
                return match check_region_id("region", region) {
                    Ok(()) => Ok(Some(region.to_owned())),
                    Err(_) => Err(EndpointError::Region { source_name: source }),
                };
            }
        }
        let labelled =
            given(self.pod_label.as_deref()).filter(|region| check_region_id("region", region).is_ok());
        Ok(labelled.map(ToOwned::to_owned))
    }
}

/// Returns a text without surrounding white space; `None` if it is empty.
fn given(value: Option<&str>) -> Option<&str> {
    value.map(str::trim).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_source_that_is_set_names_the_region() {
        let text = |value: &str| Some(value.to_owned());
        let sources = |flag: &str, sts_region: &str, pod_label: &str| RegionSources {
            flag: text(flag),
            sts_region: text(sts_region),
            pod_label: text(pod_label),
        };
        for (given, expected) in [
            (sources("cn-a", "cn-b", "cn-c"), Some("cn-a")),
            (sources("", " cn-b\n", "cn-c"), Some("cn-b")),
            (sources("", "", "cn-c"), Some("cn-c")),
            (
                sources("", "cn-shanghai-finance-1", ""),
                Some("cn-shanghai-finance-1"),
            ),
            (sources("", "", ""), None),
            // The label of a cluster that is not on Alibaba Cloud.
            (sources("", "", "europe-west1"), None),
        ] {
            assert_eq!(given.named().unwrap().as_deref(), expected, "{given:?}");
        }
        assert_eq!(RegionSources::default().named().unwrap(), None);
        for (wrong, source) in [
            (sources("hangzhou", "cn-b", ""), "--region"),
            (sources("x.example.com/", "", ""), "--region"),
            (
                sources("", "cn-hangzhou.evil.example", ""),
                "ALIBABA_CLOUD_STS_REGION",
            ),
        ] {
            let message = wrong.named().unwrap_err().to_string();
            assert!(message.starts_with(source), "{message}");
        }
    }
}
