use super::*;
use crate::api::ProjectRef;

fn texts(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn pics(region: &str) -> BucketPlace {
    BucketPlace::new("pics", region).unwrap()
}

fn project(region: &str) -> ProjectPlace {
    ProjectPlace::of(&ProjectRef {
        name: "immtest".to_owned(),
        region: region.to_owned(),
        account_uid: "1234567890123456".to_owned(),
    })
    .unwrap()
}

fn in_region(region: &str, network: Option<Network>) -> EndpointSettings {
    EndpointSettings {
        network,
        region: RegionSources {
            flag: Some(region.to_owned()),
            ..RegionSources::default()
        },
        ..EndpointSettings::default()
    }
}

#[test]
fn without_a_setting_every_name_is_public() {
    let public = EndpointSettings::default().resolve(None).unwrap();
    assert_eq!(
        public.bucket(&pics("cn-hangzhou")),
        "https://pics.oss-cn-hangzhou.aliyuncs.com/"
    );
    assert_eq!(
        public.oss_service(&pics("cn-beijing")),
        "https://oss-cn-beijing.aliyuncs.com/"
    );
    assert_eq!(
        public.imm(&project("cn-beijing")),
        "https://imm.cn-beijing.aliyuncs.com/"
    );
    assert_eq!(public.sts(), "https://sts.aliyuncs.com/");
}

#[test]
fn internal_names_are_used_in_the_own_region_only() {
    let endpoints = in_region("cn-hangzhou", Some(Network::Internal))
        .resolve(None)
        .unwrap();
    assert_eq!(
        endpoints.bucket(&pics("cn-hangzhou")),
        "https://pics.oss-cn-hangzhou-internal.aliyuncs.com/"
    );
    assert_eq!(
        endpoints.bucket(&pics("cn-beijing")),
        "https://pics.oss-cn-beijing.aliyuncs.com/"
    );
    assert_eq!(
        endpoints.imm(&project("cn-hangzhou")),
        "https://imm-vpc.cn-hangzhou.aliyuncs.com/"
    );
    assert_eq!(
        endpoints.imm(&project("cn-beijing")),
        "https://imm.cn-beijing.aliyuncs.com/"
    );
    assert_eq!(endpoints.sts(), "https://sts-vpc.cn-hangzhou.aliyuncs.com/");
    assert_eq!(
        endpoints.describe()[0],
        "https://oss-{region}.aliyuncs.com/,cn-hangzhou=https://oss-cn-hangzhou-internal.aliyuncs.com/"
    );
    let unknown = EndpointSettings {
        network: Some(Network::Internal),
        ..EndpointSettings::default()
    };
    let message = unknown.resolve(None).unwrap_err().to_string();
    assert!(
        message.contains("--network internal") && message.contains("--region"),
        "{message}"
    );
    assert!(unknown.lacks_region().unwrap());
    let measured = unknown.resolve(Some("cn-shanghai".to_owned())).unwrap();
    assert_eq!(measured.sts(), "https://sts-vpc.cn-shanghai.aliyuncs.com/");
    let hostile = unknown.resolve(Some("x.example.com/".to_owned()));
    assert!(hostile.is_err(), "an answer that is no region names no host");
}

#[test]
fn an_address_for_a_region_wins_over_the_plain_one_and_the_last_one_counts() {
    let settings = EndpointSettings {
        oss: texts(&[
            "https://first.example.com",
            "cn-hangzhou=http://10.0.0.1:8080",
            "https://oss-{region}.example.com",
            " cn-hangzhou = https://oss-{region}-internal.aliyuncs.com ",
        ]),
        imm: texts(&["cn-beijing=https://imm-vpc.{region}.aliyuncs.com"]),
        ..in_region("cn-shanghai", Some(Network::Internal))
    };
    let endpoints = settings.resolve(None).unwrap();
    for (region, host) in [
        ("cn-hangzhou", "oss-cn-hangzhou-internal.aliyuncs.com"),
        ("cn-beijing", "oss-cn-beijing.example.com"),
        // A plain address is for every region, also for the own one.
        ("cn-shanghai", "oss-cn-shanghai.example.com"),
    ] {
        assert_eq!(endpoints.bucket(&pics(region)), format!("https://pics.{host}/"));
    }
    for (region, host) in [
        ("cn-beijing", "imm-vpc.cn-beijing"),
        ("cn-shanghai", "imm-vpc.cn-shanghai"),
        ("cn-hangzhou", "imm.cn-hangzhou"),
    ] {
        let url = format!("https://{host}.aliyuncs.com/");
        assert_eq!(endpoints.imm(&project(region)), url);
    }
}

#[test]
fn sts_follows_the_flag_then_the_network_then_the_environment() {
    let webhook = |endpoint: &str, region: &str, vpc: bool| EndpointSettings {
        region: RegionSources {
            sts_region: Some(region.to_owned()).filter(|region| !region.is_empty()),
            ..RegionSources::default()
        },
        sts_environment: StsEnvironment {
            endpoint: Some(endpoint.to_owned()).filter(|endpoint| !endpoint.is_empty()),
            regional: !region.is_empty(),
            vpc,
        },
        ..EndpointSettings::default()
    };
    let vpc_host = "sts-vpc.cn-hangzhou.aliyuncs.com";
    for (settings, host) in [
        (webhook(vpc_host, "cn-hangzhou", true), vpc_host),
        (webhook(vpc_host, "", false), vpc_host),
        (webhook("https://sts.example.com/", "", false), "sts.example.com"),
        (webhook("", "cn-hangzhou", true), vpc_host),
        (webhook("", "cn-hangzhou", false), "sts.cn-hangzhou.aliyuncs.com"),
        (webhook("", "", true), "sts.aliyuncs.com"),
        (
            EndpointSettings {
                network: Some(Network::Public),
                ..webhook(vpc_host, "cn-hangzhou", true)
            },
            "sts.aliyuncs.com",
        ),
        (
            EndpointSettings {
                network: Some(Network::Internal),
                ..webhook("sts.example.com", "cn-hangzhou", false)
            },
            vpc_host,
        ),
        (
            EndpointSettings {
                sts: texts(&["https://sts.{region}.example.com"]),
                ..webhook(vpc_host, "cn-hangzhou", true)
            },
            "sts.cn-hangzhou.example.com",
        ),
        (
            EndpointSettings {
                sts: texts(&["https://all.example.com", "cn-hangzhou=https://own.example.com"]),
                ..webhook("", "cn-hangzhou", true)
            },
            "own.example.com",
        ),
    ] {
        let endpoints = settings.resolve(None).unwrap();
        assert_eq!(endpoints.sts(), format!("https://{host}/"), "{settings:?}");
    }
    // A region by flag is the region of STS too.
    let mut other = webhook("", "cn-hangzhou", true);
    other.region.flag = Some("cn-beijing".to_owned());
    let endpoints = other.resolve(None).unwrap();
    assert_eq!(endpoints.sts(), "https://sts-vpc.cn-beijing.aliyuncs.com/");
}

#[test]
fn a_setting_that_cannot_be_used_is_refused_by_its_name() {
    let only = |flag: &str, text: &str| {
        let mut settings = EndpointSettings::default();
        let list = match flag {
            OSS_FLAG => &mut settings.oss,
            IMM_FLAG => &mut settings.imm,
            _ => &mut settings.sts,
        };
        list.push(text.to_owned());
        settings.resolve(None).map(|_| ())
    };
    for flag in [OSS_FLAG, IMM_FLAG, STS_FLAG] {
        for (text, part) in [
            ("", "must start with https://"),
            ("https://host/?x=1", "remove ?"),
            ("https://host#f", "remove #"),
            ("https://oss-{Region}.example.com", "the only one is {region}"),
            ("cn-hangzhou=https://host/path", "remove /"),
            ("Hangzhou=https://host", "is not the ID of a region"),
            ("=https://host", "is not the ID of a region"),
            ("cn-hangzhou-internal=https://host", "is not the ID of a region"),
        ] {
            let message = only(flag, text).unwrap_err().to_string();
            assert!(
                message.starts_with(flag) && message.contains(part),
                "{text}: {message}"
            );
            let url = text.trim_start_matches("cn-hangzhou=");
            assert!(url.is_empty() || !message.contains(url), "{message}");
        }
    }
    for text in [
        "https://sts-vpc.{region}.aliyuncs.com",
        "cn-hangzhou=https://sts.example.com",
    ] {
        let message = only(STS_FLAG, text).unwrap_err().to_string();
        assert!(
            message.starts_with(STS_FLAG) && message.contains("--region"),
            "{message}"
        );
    }
    let environment = EndpointSettings {
        sts_environment: StsEnvironment {
            endpoint: Some("sts.example.com/path".to_owned()),
            ..StsEnvironment::default()
        },
        ..EndpointSettings::default()
    };
    let message = environment.resolve(None).unwrap_err().to_string();
    assert!(message.starts_with("ALIBABA_CLOUD_STS_ENDPOINT"), "{message}");
}

#[test]
fn imm_has_only_its_internal_name_in_some_regions() {
    let public = EndpointSettings::default().resolve(None).unwrap();
    assert_eq!(
        public.imm(&project("cn-beijing-gov-1")),
        "https://imm-vpc.cn-beijing-gov-1.aliyuncs.com/"
    );
    assert_eq!(
        public.bucket(&pics("cn-beijing-gov-1")),
        "https://pics.oss-cn-beijing-gov-1.aliyuncs.com/"
    );
}
