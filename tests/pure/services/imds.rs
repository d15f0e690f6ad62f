//! Tests the metadata of an instance: every key with its value, and every refusal with its status.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use localvpc::datapath::faults::MetadataFault;
use localvpc::mapping::InterfaceIndex;
use localvpc::model::profile::Profile;
use localvpc::services::clock::{ManualClock, SeededEntropy};
use localvpc::services::fixed::{Facts, FixedSource, sample_instance};
use localvpc::services::imds::document::{Instance, PublicKey, Role};
use localvpc::services::imds::{Asker, HopLimit, router};
use localvpc::testing::Network;
use localvpc::wire::MacAddr;
use tower::ServiceExt;

const MAC: MacAddr = MacAddr([0x0a, 0, 0, 0, 0, 1]);
const SECOND_MAC: MacAddr = MacAddr([0x0a, 0, 0, 0, 0, 2]);
const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));

/// An instance with every metadata key, on two interfaces.
fn full() -> Instance {
    let mut instance = sample_instance(Ipv4Addr::new(10, 0, 1, 10), MAC);
    let made = UNIX_EPOCH + Duration::from_secs(1_795_340_400);
    instance.role = Some(Role {
        name: "failover".to_owned(),
        instance_profile_arn: "arn:aws:iam::123456789012:instance-profile/failover".to_owned(),
        instance_profile_id: "AIPAEXAMPLE".to_owned(),
        access_key_id: "ASIAEXAMPLE".to_owned(),
        secret_access_key: "secret".to_owned(),
        token: "session".to_owned(),
        last_updated: made,
        expiration: made + Duration::from_secs(21_600),
    });
    instance.user_data = Some(b"#cloud-config\n\xff\n".to_vec());
    instance.tags.push(("a/b".to_owned(), "hidden".to_owned()));
    instance.public_keys.push(PublicKey {
        name: "second".to_owned(),
        openssh: "ssh-rsa AAAAB3 second".to_owned(),
    });
    let mut second = instance.interfaces[0].clone();
    second.mac = SECOND_MAC;
    second.device_number = 1;
    second.network_card = Some(0);
    second.interface_id = "eni-00000000000000099".to_owned();
    second.local_ipv4s = vec![Ipv4Addr::new(10, 0, 1, 20), Ipv4Addr::new(10, 0, 1, 21)];
    second.ipv6s = vec!["2001:db8:0:1::20".parse().unwrap(), "2001:db8:0:1::21".parse().unwrap()];
    second.ipv4_prefixes = vec!["10.0.1.32/28".parse().unwrap(), "10.0.1.48/28".parse().unwrap()];
    second.ipv6_prefixes = vec!["2001:db8:0:1:20::/80".parse().unwrap()];
    second.public_ipv4s = vec![(Ipv4Addr::new(198, 51, 100, 7), Ipv4Addr::new(10, 0, 1, 20))];
    second.subnet_ipv6 = vec!["2001:db8:0:1::/64".parse().unwrap()];
    second.vpc_ipv4.push("10.1.0.0/16".parse().unwrap());
    second.vpc_ipv6 = vec!["2001:db8::/56".parse().unwrap()];
    second.security_groups.push(("sg-2".to_owned(), "web".to_owned()));
    second.public_hostname = Some("ec2-198-51-100-7.eu-central-1.compute.amazonaws.com".to_owned());
    instance.interfaces.insert(0, second);
    instance
}

struct Service {
    router: Router,
    source: Arc<FixedSource>,
    clock: Arc<ManualClock>,
    interfaces: [InterfaceIndex; 2],
}

impl Service {
    /// The first interface has the instance; the second another one.
    fn new(instance: Instance) -> Self {
        let mut network = Network::new(Profile::aws(), &["10.0.0.0/16"]);
        let subnet = network.subnet(MacAddr([0x0e, 0, 0, 0, 0, 1]), &["10.0.1.0/24"]);
        let interfaces = [1, 2].map(|n| network.interface(subnet, MacAddr([0x0a, 0, 0, 0, 0, n]), &[]));
        let mut facts = Facts::default();
        facts.instances.insert(interfaces[0], Arc::new(instance));
        let other = sample_instance(Ipv4Addr::new(10, 0, 1, 11), MacAddr([0x0a, 0, 0, 0, 0, 9]));
        facts.instances.insert(interfaces[1], Arc::new(other));
        let source = Arc::new(FixedSource::new(facts));
        let clock = Arc::new(ManualClock::new(UNIX_EPOCH));
        let entropy = Arc::new(SeededEntropy::new(7));
        Self {
            router: router(source.clone(), clock.clone(), entropy),
            source,
            clock,
            interfaces,
        }
    }

    async fn ask(&self, who: usize, to: IpAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let interface = self.interfaces[who];
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .extension(Asker { interface, to });
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self
            .router
            .clone()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        let status = response.status();
        let hop_limit = response.extensions().get::<HopLimit>().map(|limit| limit.0);
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        let (kind, ttl) = (header("content-type"), header("x-aws-ec2-metadata-token-ttl-seconds"));
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec();
        Answer {
            status,
            hop_limit,
            kind,
            ttl,
            body,
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(0, V4, "GET", path, &[]).await
    }

    async fn token(&self, who: usize, ttl: &str) -> String {
        let headers = [("X-aws-ec2-metadata-token-ttl-seconds", ttl)];
        let answer = self.ask(who, V4, "PUT", "/latest/api/token", &headers).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.ttl.as_deref(), Some(ttl));
        answer.text()
    }

    fn change(&self, change: impl FnOnce(&mut Instance)) {
        let mut facts = self.source.facts();
        let instance = facts.instances.get_mut(&self.interfaces[0]).unwrap();
        change(Arc::make_mut(instance));
    }
}

struct Answer {
    status: StatusCode,
    hop_limit: Option<u8>,
    kind: Option<String>,
    ttl: Option<String>,
    body: Vec<u8>,
}

impl Answer {
    fn text(self) -> String {
        String::from_utf8(self.body).unwrap()
    }
}

#[tokio::test]
async fn every_key_that_tools_read_has_its_value() {
    let service = Service::new(full());
    let nic = "meta-data/network/interfaces/macs/0a:00:00:00:00:02";
    let keys = [
        ("meta-data/instance-id".to_owned(), "i-0000000000000000a"),
        ("meta-data/mac".to_owned(), "0a:00:00:00:00:01"),
        ("meta-data/local-ipv4".to_owned(), "10.0.1.10"),
        (
            "meta-data/hostname".to_owned(),
            "ip-10-0-1-10.eu-central-1.compute.internal",
        ),
        (
            "meta-data/local-hostname".to_owned(),
            "ip-10-0-1-10.eu-central-1.compute.internal",
        ),
        ("meta-data/ami-id".to_owned(), "ami-00000000000000001"),
        ("meta-data/ami-launch-index".to_owned(), "0"),
        ("meta-data/ami-manifest-path".to_owned(), "(unknown)"),
        ("meta-data/instance-type".to_owned(), "t3.micro"),
        ("meta-data/instance-action".to_owned(), "none"),
        ("meta-data/instance-life-cycle".to_owned(), "on-demand"),
        ("meta-data/reservation-id".to_owned(), "r-00000000000000001"),
        ("meta-data/security-groups".to_owned(), "default"),
        ("meta-data/profile".to_owned(), "default-hvm"),
        ("meta-data/placement/availability-zone".to_owned(), "eu-central-1a"),
        ("meta-data/placement/availability-zone-id".to_owned(), "euc1-az2"),
        ("meta-data/placement/region".to_owned(), "eu-central-1"),
        ("meta-data/services/partition".to_owned(), "aws"),
        ("meta-data/services/domain".to_owned(), "amazonaws.com"),
        ("meta-data/block-device-mapping/".to_owned(), "ami\nroot"),
        ("meta-data/block-device-mapping/root".to_owned(), "/dev/xvda"),
        ("meta-data/public-keys/".to_owned(), "0=lab\n1=second"),
        ("meta-data/public-keys/1/".to_owned(), "openssh-key"),
        (
            "meta-data/public-keys/1/openssh-key".to_owned(),
            "ssh-rsa AAAAB3 second",
        ),
        ("meta-data/tags/".to_owned(), "instance/"),
        ("meta-data/tags/instance/".to_owned(), "Name"),
        ("meta-data/tags/instance/Name".to_owned(), "10-0-1-10"),
        ("meta-data/iam/".to_owned(), "info\nsecurity-credentials/"),
        ("meta-data/iam/security-credentials/".to_owned(), "failover"),
        ("meta-data/network/".to_owned(), "interfaces/"),
        ("meta-data/network/interfaces/".to_owned(), "macs/"),
        (
            "meta-data/network/interfaces/macs/".to_owned(),
            "0a:00:00:00:00:01/\n0a:00:00:00:00:02/",
        ),
        (format!("{nic}/interface-id"), "eni-00000000000000099"),
        (format!("{nic}/mac"), "0a:00:00:00:00:02"),
        (format!("{nic}/device-number"), "1"),
        (format!("{nic}/network-card"), "0"),
        (format!("{nic}/local-ipv4s"), "10.0.1.20\n10.0.1.21"),
        (format!("{nic}/ipv6s"), "2001:db8:0:1::20\n2001:db8:0:1::21"),
        (format!("{nic}/ipv4-prefix"), "10.0.1.32/28\n10.0.1.48/28"),
        (format!("{nic}/ipv6-prefix"), "2001:db8:0:1:20::/80"),
        (format!("{nic}/subnet-id"), "subnet-00000000000000001"),
        (format!("{nic}/subnet-ipv4-cidr-block"), "10.0.1.0/24"),
        (format!("{nic}/subnet-ipv6-cidr-blocks"), "2001:db8:0:1::/64"),
        (format!("{nic}/vpc-id"), "vpc-00000000000000001"),
        (format!("{nic}/vpc-ipv4-cidr-block"), "10.0.0.0/16"),
        (format!("{nic}/vpc-ipv4-cidr-blocks"), "10.0.0.0/16\n10.1.0.0/16"),
        (format!("{nic}/vpc-ipv6-cidr-blocks"), "2001:db8::/56"),
        (format!("{nic}/security-group-ids"), "sg-00000000000000001\nsg-2"),
        (format!("{nic}/security-groups"), "default\nweb"),
        (format!("{nic}/owner-id"), "123456789012"),
        (
            format!("{nic}/local-hostname"),
            "ip-10-0-1-10.eu-central-1.compute.internal",
        ),
        (format!("{nic}/public-ipv4s"), "198.51.100.7"),
        (
            format!("{nic}/public-hostname"),
            "ec2-198-51-100-7.eu-central-1.compute.amazonaws.com",
        ),
        (format!("{nic}/ipv4-associations/"), "198.51.100.7"),
        (format!("{nic}/ipv4-associations/198.51.100.7"), "10.0.1.20"),
        ("dynamic/".to_owned(), "instance-identity/"),
        ("dynamic/instance-identity/".to_owned(), "document"),
        (String::new(), "dynamic\nmeta-data\nuser-data"),
    ];
    for (path, expected) in keys {
        for version in ["latest", "2009-04-04", "2021-03-23"] {
            let answer = service.get(&format!("/{version}/{path}")).await;
            assert_eq!(answer.status, StatusCode::OK, "{version}/{path}");
            assert_eq!(answer.kind.as_deref(), Some("text/plain"), "{path}");
            assert_eq!(answer.text(), expected, "{version}/{path}");
        }
    }
}

#[tokio::test]
async fn whatever_a_listing_names_can_be_read() {
    let service = Service::new(full());
    let (mut directories, mut leaves) = (vec!["/latest/meta-data/".to_owned(), "/latest/dynamic/".to_owned()], 0);
    while let Some(directory) = directories.pop() {
        for line in service.get(&directory).await.text().lines() {
            let name = match line.split_once('=') {
                // A key is listed with its name, and read by its number.
                Some((number, _)) => format!("{number}/"),
                None => line.to_owned(),
            };
            let path = format!("{directory}{name}");
            if name.ends_with('/') {
                directories.push(path);
            } else {
                let answer = service.get(&path).await;
                assert_eq!(answer.status, StatusCode::OK, "{path}");
                assert!(!answer.body.is_empty(), "{path}");
                leaves += 1;
            }
        }
    }
    assert!(leaves > 60, "{leaves}");
}

#[tokio::test]
async fn what_is_empty_is_not_there() {
    let service = Service::new(sample_instance(Ipv4Addr::new(10, 0, 1, 10), MAC));
    let nic = "meta-data/network/interfaces/macs/0a:00:00:00:00:01";
    for path in [
        "user-data".to_owned(),
        "meta-data/iam/".to_owned(),
        "meta-data/public-ipv4".to_owned(),
        "meta-data/public-hostname".to_owned(),
        "meta-data/ipv6".to_owned(),
        "meta-data/spot/instance-action".to_owned(),
        "meta-data/instance-id/more".to_owned(),
        "meta-data/network/interfaces/macs/0a:00:00:00:00:99/".to_owned(),
        format!("{nic}/ipv4-prefix"),
        format!("{nic}/ipv6-prefix"),
        format!("{nic}/ipv6s"),
        format!("{nic}/network-card"),
        format!("{nic}/subnet-ipv6-cidr-blocks"),
        "dynamic/fws".to_owned(),
        "nothing".to_owned(),
    ] {
        let answer = service.get(&format!("/latest/{path}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(answer.text().contains("404 - Not Found"));
    }
    for path in ["/1999-01-01/meta-data/", "/nothing", "/2021-03-23x/"] {
        assert_eq!(service.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    service.change(|instance| instance.interfaces[0].local_ipv4s.clear());
    let gone = service.get(&format!("/latest/{nic}/local-ipv4s")).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    service.change(|instance| instance.options.instance_tags = false);
    assert_eq!(
        service.get("/latest/meta-data/tags/instance/").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn documents_of_several_lines_are_json_or_come_as_they_were_given() {
    let service = Service::new(full());
    let document = service.get("/latest/dynamic/instance-identity/document").await.text();
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["instanceId"], "i-0000000000000000a");
    assert_eq!(document["region"], "eu-central-1");
    assert_eq!(document["availabilityZone"], "eu-central-1a");
    assert_eq!(document["privateIp"], "10.0.1.10");
    assert_eq!(document["accountId"], "123456789012");
    assert_eq!(document["pendingTime"], "2026-11-22T09:41:35Z");
    let credentials = service
        .get("/latest/meta-data/iam/security-credentials/failover")
        .await
        .text();
    let credentials: serde_json::Value = serde_json::from_str(&credentials).unwrap();
    assert_eq!(credentials["Code"], "Success");
    assert_eq!(credentials["AccessKeyId"], "ASIAEXAMPLE");
    assert_eq!(credentials["Expiration"], "2026-11-22T15:40:00Z");
    let info = service.get("/latest/meta-data/iam/info").await.text();
    assert!(info.contains("instance-profile/failover"));
    let user_data = service.get("/latest/user-data").await;
    assert_eq!(user_data.kind.as_deref(), Some("application/octet-stream"));
    assert_eq!(user_data.body, b"#cloud-config\n\xff\n");
    let versions = service.get("/").await.text();
    for version in ["1.0", "2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "latest"] {
        assert!(versions.lines().any(|line| line == version), "{version}");
    }
}

#[tokio::test]
async fn empty_segments_and_escapes_count_for_nothing() {
    let service = Service::new(full());
    for path in [
        "/latest/meta-data/network/interfaces/macs/0a:00:00:00:00:01//local-ipv4s",
        "//latest//meta-data/local-ipv4",
        "/latest/meta-data/local-ipv4/",
        "/latest/meta-data/network/interfaces/macs/0a%3A00%3a00:00:00:01/local-ipv4s",
        "/latest/meta-data/local-ipv4?query=1",
    ] {
        assert_eq!(service.get(path).await.text(), "10.0.1.10", "{path}");
    }
    assert_eq!(service.get("/latest/%ff").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        service.get("/latest/meta-data/../meta-data").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_token_is_given_for_a_ttl_within_bounds_and_on_one_path_alone() {
    let service = Service::new(full());
    const TTL: &str = "X-aws-ec2-metadata-token-ttl-seconds";
    type Headers = &'static [(&'static str, &'static str)];
    let cases: [(&str, Headers, u16); 15] = [
        ("/latest/api/token", &[(TTL, "1")], 200),
        ("/latest/api/token", &[(TTL, "21600")], 200),
        ("/latest//api/token/", &[(TTL, "60")], 200),
        ("/latest/api/token", &[], 400),
        ("/latest/api/token", &[(TTL, "0")], 400),
        ("/latest/api/token", &[(TTL, "21601")], 400),
        ("/latest/api/token", &[(TTL, "-1")], 400),
        ("/latest/api/token", &[(TTL, "1h")], 400),
        ("/latest/api/token", &[(TTL, "99999999999999999999")], 400),
        ("/latest/api/token", &[(TTL, "")], 400),
        ("/2021-03-23/api/token", &[(TTL, "60")], 403),
        ("/1.0/api/token", &[(TTL, "60")], 403),
        (
            "/latest/api/token",
            &[(TTL, "60"), ("X-Forwarded-For", "10.0.1.77")],
            403,
        ),
        ("/latest/meta-data/", &[(TTL, "60")], 405),
        ("/latest/api/tokens", &[(TTL, "60")], 405),
    ];
    for (path, headers, status) in cases {
        let answer = service.ask(0, V4, "PUT", path, headers).await;
        assert_eq!(answer.status.as_u16(), status, "{path} {headers:?}");
        assert_eq!(answer.hop_limit, Some(1), "{path} {headers:?}");
    }
    assert_eq!(
        service.get("/latest/api/token").await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
    for method in ["POST", "DELETE", "OPTIONS", "PATCH"] {
        let answer = service.ask(0, V4, method, "/latest/meta-data/", &[]).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
    service.change(|instance| instance.options.hop_limit = 2);
    let answer = service.ask(0, V4, "PUT", "/latest/api/token", &[(TTL, "60")]).await;
    assert_eq!(answer.hop_limit, Some(2));
    assert_eq!(service.get("/latest/meta-data/").await.hop_limit, None);
}

#[tokio::test]
async fn a_token_opens_until_it_expires_and_only_its_own_instance() {
    let service = Service::new(full());
    service.change(|instance| instance.options.tokens_required = true);
    let token = service.token(0, "60").await;
    let foreign = service.token(1, "60").await;
    let ask = async |token: &str| {
        let headers = [("X-aws-ec2-metadata-token", token)];
        service
            .ask(0, V4, "GET", "/latest/meta-data/instance-id", &headers)
            .await
    };
    assert_eq!(
        service.get("/latest/meta-data/instance-id").await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        service.get("/latest/no-such-key").await.status,
        StatusCode::UNAUTHORIZED
    );
    for wrong in ["", "wrong", &foreign, &token[..55]] {
        assert_eq!(ask(wrong).await.status, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    service.clock.advance(Duration::from_millis(59_500));
    let answer = ask(&token).await;
    assert_eq!((answer.status, answer.ttl.as_deref()), (StatusCode::OK, Some("1")));
    service.clock.advance(Duration::from_millis(500));
    assert_eq!(ask(&token).await.status, StatusCode::UNAUTHORIZED);
    // Where no token is needed, a wrong one is still refused.
    service.change(|instance| instance.options.tokens_required = false);
    assert_eq!(
        service.get("/latest/meta-data/instance-id").await.status,
        StatusCode::OK
    );
    assert_eq!(ask(&token).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_interface_that_asks_decides_whose_metadata_is_shown() {
    let service = Service::new(full());
    let path = "/latest/meta-data/local-ipv4";
    assert_eq!(service.ask(0, V4, "GET", path, &[]).await.text(), "10.0.1.10");
    assert_eq!(
        service.ask(1, V4, "GET", path, &[("Host", "10.0.1.10")]).await.text(),
        "10.0.1.11"
    );
    service.source.facts().instances.clear();
    assert_eq!(service.get(path).await.status, StatusCode::NOT_FOUND);
    let request = Request::get(path).body(Body::empty()).unwrap();
    let unknown = service.router.clone().oneshot(request).await.unwrap();
    assert_eq!(unknown.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn a_service_that_is_switched_off_refuses_everything() {
    let service = Service::new(full());
    let v6: IpAddr = "fd00:ec2::254".parse().unwrap();
    service.change(|instance| instance.options.http_protocol_ipv6 = false);
    assert_eq!(service.ask(0, v6, "GET", "/", &[]).await.status, StatusCode::FORBIDDEN);
    assert_eq!(service.get("/").await.status, StatusCode::OK);
    service.change(|instance| (instance.options.http_endpoint, instance.options.http_protocol_ipv6) = (false, true));
    for (to, method) in [(V4, "GET"), (v6, "GET"), (V4, "PUT")] {
        let answer = service.ask(0, to, method, "/latest/api/token", &[]).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn a_fault_answers_with_its_status_cuts_tokens_short_or_says_nothing() {
    let service = Service::new(full());
    service.change(|instance| instance.options.tokens_required = true);
    let path = "/latest/meta-data/instance-id";
    let begin = |fault| {
        service
            .source
            .facts()
            .metadata_faults
            .insert(service.interfaces[0], fault)
    };
    begin(MetadataFault {
        token_lifetime: Some(Duration::from_secs(5)),
        ..MetadataFault::default()
    });
    let token = service.token(0, "60").await;
    let headers = [("X-aws-ec2-metadata-token", &*token)];
    service.clock.advance(Duration::from_millis(4900));
    assert_eq!(service.ask(0, V4, "GET", path, &headers).await.status, StatusCode::OK);
    service.clock.advance(Duration::from_millis(100));
    assert_eq!(
        service.ask(0, V4, "GET", path, &headers).await.status,
        StatusCode::UNAUTHORIZED
    );
    begin(MetadataFault {
        status: Some(503),
        ..MetadataFault::default()
    });
    assert_eq!(service.get(path).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(service.ask(1, V4, "GET", path, &[]).await.status, StatusCode::OK);
    begin(MetadataFault {
        delay: Duration::from_secs(3),
        ..MetadataFault::default()
    });
    let held_up = service.get(path);
    tokio::pin!(held_up);
    let soon = Duration::from_millis(50);
    assert!(tokio::time::timeout(soon, &mut held_up).await.is_err());
    service.clock.advance(Duration::from_millis(2999));
    assert!(tokio::time::timeout(soon, &mut held_up).await.is_err());
    service.clock.advance(Duration::from_millis(1));
    assert_eq!(
        held_up.await.status,
        StatusCode::UNAUTHORIZED,
        "no token, but an answer"
    );
    begin(MetadataFault {
        silent: true,
        ..MetadataFault::default()
    });
    let asked = service.get(path);
    assert!(tokio::time::timeout(Duration::from_millis(50), asked).await.is_err());
}
