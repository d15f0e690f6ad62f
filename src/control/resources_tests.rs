//! Routes, DHCP options and instances: declared values reach the data path and the services.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::tests::World;
use super::*;
use crate::datapath;
use crate::model::dhcp_options::{CreateDhcpOptions, DhcpOptions, DhcpOptionsChoice};
use crate::model::fault::FaultSpec;
use crate::model::instance::life::{LaunchInstance, LaunchInstances, LaunchInterface, NewOrExisting};
use crate::model::interface::{DeleteInterface, ModifyInterface, SettingsChange, TrackingTimeouts};
use crate::model::key_pair::{AddKeyPair, DeleteKeyPair, KeyType};
use crate::model::mapping::MappingEdit;
use crate::model::metadata::{HttpTokens, MetadataChange};
use crate::model::route_table::{AssociateRouteTable, CreateRouteTable, DisassociateRouteTable, EditRoute, RouteEdit};
use crate::model::vpc::ModifyVpc;
use crate::model::{InterfaceId, Profile, RouteTableId};
use crate::services::dns::NameSource;
use crate::services::imds::MetadataSource;
use crate::services::ntp::TimeSource;
use crate::switch::port::memory::cable;

impl World {
    /// The next hop of a packet to `address`.
    fn led(&self, address: &str) -> Option<datapath::RouteTarget> {
        let state = self.controller.read();
        let subnet = state.binding.subnet_index(self.subnet).unwrap();
        let view = state.binding.writer().view();
        let routes = Arc::clone(&view.subnet(subnet).unwrap().routes);
        routes.lookup(address.parse().unwrap()).map(|(_, target)| target)
    }

    fn main(&self) -> RouteTableId {
        self.controller.vpc(&self.vpc.into()).unwrap().main_route_table_id
    }

    fn edit_route(&self, edit: RouteEdit) {
        let table = self.main().into();
        self.controller.execute(EditRoute { table, edit }).unwrap();
    }

    /// Gives each interface a device of its own, and with it an instance.
    fn attach(&self) {
        for interface in [self.a, self.b] {
            let device = cable(1500).0.into();
            self.controller
                .attach(&interface.into(), device, DevicePlace::Outside)
                .unwrap();
        }
    }

    fn index(&self, interface: InterfaceId) -> crate::mapping::InterfaceIndex {
        self.controller.read().binding.interface_index(interface).unwrap()
    }
}

#[test]
fn a_route_leads_packets_as_soon_as_it_is_there() {
    let world = World::new();
    assert_eq!(world.led("192.0.2.7"), None);
    assert_eq!(world.led("10.0.1.11"), Some(datapath::RouteTarget::Local));
    let to = "192.0.2.7/32".parse().unwrap();
    world.edit_route(RouteEdit::Create(to, world.a.into()));
    assert_eq!(
        world.led("192.0.2.7"),
        Some(datapath::RouteTarget::Interface(world.index(world.a)))
    );
    world.edit_route(RouteEdit::Replace(to, world.b.into()));
    assert_eq!(
        world.led("192.0.2.7"),
        Some(datapath::RouteTarget::Interface(world.index(world.b)))
    );
    // The place in the fabric is given to another interface later: by then no route has it as its target.
    world.controller.execute(DeleteInterface(world.b.into())).unwrap();
    assert_eq!(world.led("192.0.2.7"), Some(datapath::RouteTarget::Blackhole));
    world.edit_route(RouteEdit::Delete(to));
    assert_eq!(world.led("192.0.2.7"), None);
}

#[test]
fn a_route_leads_packets_late_where_its_propagation_is_late() {
    let world = World::new();
    let at = |ms| world.controller.drive_faults(Duration::from_millis(ms));
    at(0);
    let fault = r#"{"late_propagation": {"of": ["routes"], "delay": {"fixed": "500ms"}}}"#;
    let fault: FaultSpec = serde_json::from_str(fault).unwrap();
    world.controller.begin_fault(fault).unwrap();
    world.edit_route(RouteEdit::Create("192.0.2.7/32".parse().unwrap(), world.a.into()));
    at(499);
    assert_eq!(world.led("192.0.2.7"), None);
    at(500);
    assert_eq!(
        world.led("192.0.2.7"),
        Some(datapath::RouteTarget::Interface(world.index(world.a)))
    );
}

#[test]
fn a_fault_of_the_metadata_befalls_the_keys_and_the_part_of_requests_that_it_names() {
    let world = World::new();
    world.controller.drive_faults(Duration::ZERO);
    let begin = |fault: &str| {
        let fault: Box<FaultSpec> = serde_json::from_str(fault).unwrap();
        world.controller.begin_fault(*fault)
    };
    let index = world.index(world.a);
    let status = |path: &str| {
        let path: Vec<&str> = path.split('/').collect();
        MetadataSource::fault(&world.controller, index, &path).and_then(|fault| fault.status)
    };
    begin(
        r#"{"metadata": {"at": {"all": true}, "status": 503,
            "paths": ["meta-data/network/interfaces/macs/*/local-ipv4s", "/dynamic/**"]}}"#,
    )
    .unwrap();
    for (path, expected) in [
        ("meta-data/network/interfaces/macs/0a:00/local-ipv4s", Some(503)),
        ("meta-data/network/interfaces/macs/0a:00/device-number", None),
        ("meta-data/network/interfaces/macs/0a:00/local-ipv4s/x", None),
        ("meta-data/network/interfaces/macs/local-ipv4s", None),
        ("dynamic/instance-identity/document", Some(503)),
        ("dynamic", Some(503)),
        ("api/token", None),
    ] {
        assert_eq!(status(path), expected, "{path}");
    }
    world.controller.cancel_all_faults();
    begin(r#"{"metadata": {"at": {"all": true}, "status": 500, "chance": "25%"}}"#).unwrap();
    let failed = (0..1000).filter(|_| status("meta-data/mac").is_some()).count();
    assert!((200..300).contains(&failed), "{failed} of 1000");
    for (fault, remedy) in [
        (
            r#"{"metadata": {"at": {"all": true}, "status": 500, "paths": ["latest/meta-data"]}}"#,
            "version",
        ),
        (
            r#"{"metadata": {"at": {"all": true}, "status": 500, "paths": ["/"]}}"#,
            "version",
        ),
    ] {
        let error = begin(fault).unwrap_err();
        assert_eq!(error.field().as_deref(), Some("metadata.paths"));
        assert!(error.remedy().contains(remedy), "{error}");
    }
}

#[test]
fn the_services_go_by_the_faults_that_are_meant_for_them() {
    let world = World::new();
    world.controller.drive_faults(Duration::ZERO);
    for fault in [
        r#"{"metadata": {"at": {"all": true}, "status": 503}}"#,
        r#"{"clock_skew": {"at": {"all": true}, "skew": "-2s"}}"#,
    ] {
        let fault: FaultSpec = serde_json::from_str(fault).unwrap();
        world.controller.begin_fault(fault).unwrap();
    }
    let index = world.index(world.a);
    assert_eq!(
        MetadataSource::fault(&world.controller, index, &[]).unwrap().status,
        Some(503)
    );
    assert_eq!(world.controller.skew(index), -2_000_000_000);
    world.controller.cancel_all_faults();
    assert_eq!(MetadataSource::fault(&world.controller, index, &[]), None);
    assert_eq!(world.controller.skew(index), 0);
}

#[test]
fn a_subnet_is_led_by_the_table_that_it_is_associated_with() {
    let world = World::new();
    let spec = CreateRouteTable {
        name: Some("t".into()),
        vpc: world.vpc.into(),
        tags: Default::default(),
    };
    world.controller.execute(spec).unwrap();
    let table = crate::model::ResourceRef::new("t");
    let edit = RouteEdit::Create("0.0.0.0/0".parse().unwrap(), world.a.into());
    let of = table.clone();
    world.controller.execute(EditRoute { table: of, edit }).unwrap();
    assert_eq!(world.led("192.0.2.7"), None);
    let associate = AssociateRouteTable {
        table: table.clone(),
        subnet: world.subnet.into(),
        replacing: true,
    };
    world.controller.execute(associate).unwrap();
    assert_eq!(
        world.led("192.0.2.7"),
        Some(datapath::RouteTarget::Interface(world.index(world.a)))
    );
    let subnet = world.subnet.into();
    let disassociate = DisassociateRouteTable { table, subnet };
    world.controller.execute(disassociate).unwrap();
    assert_eq!(world.led("192.0.2.7"), None);
}

#[test]
fn a_new_block_of_the_vpc_is_local_in_every_table() {
    let world = World::new();
    assert_eq!(world.led("10.1.0.9"), None);
    let blocks = ["10.0.0.0/16", "10.1.0.0/16"];
    let change = ModifyVpc {
        cidr_blocks: Some(blocks.iter().map(|text| text.parse().unwrap()).collect()),
        ..ModifyVpc::new(world.vpc)
    };
    world.controller.execute(change).unwrap();
    assert_eq!(world.led("10.1.0.9"), Some(datapath::RouteTarget::Local));
}

#[test]
fn the_data_path_tells_the_options_of_the_vpc_s_set() {
    let world = World::new();
    let told = || {
        let state = world.controller.read();
        let subnet = state.binding.subnet_index(world.subnet).unwrap();
        let view = state.binding.writer().view();
        let vpc = view.vpc(view.subnet(subnet).unwrap().vpc).unwrap();
        vpc.dhcp_options.domain_name.clone()
    };
    assert_eq!(told().as_deref(), Some("ec2.internal"));
    let spec = CreateDhcpOptions {
        name: Some("ours".into()),
        options: DhcpOptions {
            domain_name: Some("example.internal".into()),
            ..DhcpOptions::default()
        },
        ..CreateDhcpOptions::default()
    };
    world.controller.execute(spec).unwrap();
    for (choice, domain) in [
        (
            DhcpOptionsChoice::Set(crate::model::ResourceRef::new("ours")),
            Some("example.internal"),
        ),
        (DhcpOptionsChoice::None, None),
    ] {
        let change = ModifyVpc {
            dhcp_options: Some(choice),
            ..ModifyVpc::new(world.vpc)
        };
        world.controller.execute(change).unwrap();
        assert_eq!(told().as_deref(), domain);
    }
}

#[test]
fn a_moved_address_changes_metadata_names_and_data_path_at_once() {
    let world = World::new();
    world.attach();
    let (a, b) = (world.index(world.a), world.index(world.b));
    let address = "10.0.1.50";
    let assign = |interface: InterfaceId| {
        world.edit(vec![MappingEdit::Assign {
            interface: interface.into(),
            address: address.parse().unwrap(),
            move_allowed: true,
        }]);
    };
    let owner = || world.controller.holder(a, address.parse::<IpAddr>().unwrap());
    let has = |index| {
        let instance = MetadataSource::instance(&world.controller, index).unwrap();
        let listed = instance
            .primary()
            .unwrap()
            .local_ipv4s
            .contains(&address.parse().unwrap());
        (
            listed,
            owner().is_some_and(|holder| holder.instance_id.as_ref() == Some(&instance.instance_id)),
        )
    };
    assert_eq!((has(a), has(b)), ((false, false), (false, false)));
    assign(world.a);
    assert_eq!((has(a), has(b)), ((true, true), (false, false)));
    assign(world.b);
    assert_eq!((has(a), has(b)), ((false, false), (true, true)));
}

#[test]
fn the_services_serve_what_the_interface_is_set_to() {
    let world = World::new();
    world.attach();
    let a = world.index(world.a);
    let change = ModifyInterface {
        settings: SettingsChange {
            mtu: Some(Some(1500)),
            ntp_skew: Some("-250ms".parse().unwrap()),
            allowances: None,
            tracking: None,
            public_address: None,
            metadata: Some(MetadataChange {
                http_tokens: Some(HttpTokens::Required),
                http_put_response_hop_limit: Some(2),
                iam_role: Some(Some("failover".into())),
                ..MetadataChange::default()
            }),
        },
        ..ModifyInterface::new(world.a)
    };
    world.controller.execute(change).unwrap();
    let instance = MetadataSource::instance(&world.controller, a).unwrap();
    assert!(instance.options.tokens_required && instance.options.hop_limit == 2);
    assert_eq!(instance.role.as_ref().unwrap().name, "failover");
    assert_eq!(
        (instance.region.as_str(), instance.availability_zone.as_str()),
        ("us-east-1", "us-east-1a")
    );
    assert_eq!(
        instance.primary().unwrap().local_hostname.as_deref(),
        Some("ip-10-0-1-10.ec2.internal")
    );
    assert_eq!(world.controller.skew(a), -250_000_000);
    let state = world.controller.read();
    assert_eq!(state.binding.writer().view().interface(a).unwrap().mtu, Some(1500));
    drop(state);
    // By its resource name the instance is found in its own VPC.
    let found = world.controller.instance_addresses(a, &instance.instance_id).unwrap();
    assert_eq!(found.ipv4, ["10.0.1.10".parse::<std::net::Ipv4Addr>().unwrap()]);
}

#[test]
fn a_host_finds_the_security_groups_of_its_interfaces_in_its_metadata() {
    let world = World::new();
    world.attach();
    let index = world.index(world.a);
    let told = || {
        let instance = MetadataSource::instance(&world.controller, index).unwrap();
        instance.primary().unwrap().security_groups.clone()
    };
    let names = || told().into_iter().map(|(_, name)| name).collect::<Vec<_>>();
    assert_eq!(names(), ["default"]);
    let vpc = world.controller.vpcs()[0].id;
    let made = world
        .controller
        .execute(crate::model::security_group::CreateSecurityGroup {
            name: None,
            vpc: vpc.into(),
            group_name: Some("web".into()),
            description: None,
            ingress: Vec::new(),
            egress: None,
            tags: Default::default(),
        });
    let change = ModifyInterface {
        groups: Some(vec![made.unwrap().id.into(), crate::model::ResourceRef::new("default")]),
        ..ModifyInterface::new(world.a)
    };
    world.controller.execute(change).unwrap();
    assert_eq!(names(), ["web", "default"]);
    assert!(told()[0].0.starts_with("sg-"));
}

#[test]
fn a_launched_instance_finds_its_image_and_its_public_key_in_its_metadata_after_the_pair_is_deleted() {
    let world = World::new();
    let pair = AddKeyPair {
        key_name: "mine".into(),
        key_type: KeyType::Ed25519,
        public_key: "ssh-ed25519 AAAA".into(),
        fingerprint: "f".into(),
        tags: Default::default(),
        at: SystemTime::UNIX_EPOCH,
    };
    let launch = |key_name: &str| {
        world.controller.execute(LaunchInstances {
            instances: vec![LaunchInstance {
                name: None,
                interfaces: vec![LaunchInterface {
                    device_index: 0,
                    interface: NewOrExisting::Existing(world.a.into()),
                    delete_on_termination: false,
                }],
                metadata: MetadataChange::default(),
                tags: Default::default(),
                image: "ami-0123456789abcdef0".into(),
                key_name: Some(key_name.into()),
                client_token: None,
                protected: false,
            }],
            at: SystemTime::UNIX_EPOCH,
        })
    };
    let unknown = launch("mine").unwrap_err();
    assert_eq!(unknown.code(), "InvalidKeyPair.NotFound");
    let pair = world.controller.execute(pair).unwrap();
    let launched = launch("mine").unwrap().remove(0);
    world.controller.execute(DeleteKeyPair(pair.id)).unwrap();
    let shown = MetadataSource::instance(&world.controller, world.index(world.a)).unwrap();
    let keys: Vec<_> = shown
        .public_keys
        .iter()
        .map(|key| (key.name.as_str(), key.openssh.as_str()))
        .collect();
    assert_eq!(keys, [("mine", "ssh-ed25519 AAAA mine")]);
    assert_eq!(
        (shown.ami_id.as_str(), shown.reservation_id.clone()),
        ("ami-0123456789abcdef0", launched.reservation())
    );
}

#[test]
fn an_interface_s_own_times_reach_the_data_path_and_leave_the_others_to_the_profile() {
    let world = World::new();
    let lives = |interface| {
        let index = world.index(interface);
        let state = world.controller.read();
        let view = state.binding.writer().view();
        view.policy(index).and_then(|policy| policy.life().copied())
    };
    let set = |interface, tracking| {
        let change = ModifyInterface {
            settings: SettingsChange {
                tracking: Some(tracking),
                ..SettingsChange::default()
            },
            ..ModifyInterface::new(interface)
        };
        world.controller.execute(change)
    };
    assert_eq!(lives(world.a), None);
    let short = TrackingTimeouts {
        tcp_established: Some(350),
        ..TrackingTimeouts::default()
    };
    set(world.a, Some(short)).unwrap();
    let expected = |udp_stream| datapath::Life {
        tcp_established: 350,
        udp_stream,
        udp: 30,
    };
    // Interfaces with the same groups do not share it.
    assert_eq!((lives(world.a), lives(world.b)), (Some(expected(180)), None));
    let mut profile = Profile::aws();
    profile.firewall.tracking.udp_stream = 90;
    let change = ModifyVpc {
        profile: Some(Arc::new(profile)),
        ..ModifyVpc::new(world.vpc)
    };
    world.controller.execute(change).unwrap();
    assert_eq!(lives(world.a), Some(expected(90)));
    set(world.a, None).unwrap();
    assert_eq!(lives(world.a), None);
    for (field, wrong) in [
        ("tracking", TrackingTimeouts::default()),
        (
            "tracking.tcp_established",
            TrackingTimeouts {
                tcp_established: Some(59),
                ..short
            },
        ),
        (
            "tracking.udp_stream",
            TrackingTimeouts {
                udp_stream: Some(181),
                ..short
            },
        ),
        ("tracking.udp", TrackingTimeouts { udp: Some(29), ..short }),
    ] {
        let ControlError::Model(error) = set(world.a, Some(wrong)).unwrap_err() else {
            panic!("the model refuses it");
        };
        assert_eq!(error.field(), Some(field));
    }
}

#[test]
fn a_public_name_is_the_private_address_in_its_vpc_and_the_public_one_elsewhere() {
    use crate::model::elastic_ip::{AllocateAddress, AssociateAddress, AssociateWith};
    use crate::model::internet_gateway::CreateInternetGateway;
    let world = World::new();
    let gateway = CreateInternetGateway {
        vpc: Some(world.vpc.into()),
        ..CreateInternetGateway::default()
    };
    world.controller.execute(gateway).unwrap();
    let allocate = |last: u8| AllocateAddress {
        public_ip: Some([203, 0, 113, last].into()),
        ..AllocateAddress::default()
    };
    let used = world.controller.execute(allocate(10)).unwrap();
    world.controller.execute(allocate(11)).unwrap();
    let associate = AssociateAddress {
        address: used.id.into(),
        with: AssociateWith::Interface(world.b.into()),
        private_ip: None,
        reassociation_allowed: false,
    };
    let private = world
        .controller
        .execute(associate)
        .unwrap()
        .association
        .unwrap()
        .private_ip;
    let asked = |name: &str| world.controller.public_name(world.index(world.a), name);
    assert_eq!(asked("ec2-203-0-113-10.compute-1.amazonaws.com."), Some(private));
    let unused = [203, 0, 113, 11].into();
    assert_eq!(asked("ec2-203-0-113-11.compute-1.amazonaws.com"), Some(unused));
    assert_eq!(
        asked("ec2-203-0-113-12.compute-1.amazonaws.com"),
        None,
        "no address of the account"
    );
    assert_eq!(asked("example.com"), None);
}
