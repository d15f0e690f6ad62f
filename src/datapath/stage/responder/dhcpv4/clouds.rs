//! Tests leases of other clouds, and those of a subnet without IPv4.

use dhcproto::v4::{DhcpOption as O, Message, OptionCode};
use dhcproto::{Decodable, Decoder};

use super::super::fixture::{GATEWAY, HOST, Network, PRIMARY, ROUTER, ipv4};
use super::*;
use crate::mapping::InterfaceIndex;
use crate::model::dhcp_options::DhcpOptions;
use crate::model::profile::Profile;

const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const WIRE_SERVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
const LINK_LOCAL_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 1);

/// A message of a client: its kind and further options.
fn message(mac: MacAddr, ciaddr: Ipv4Addr, kind: u8, options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![1, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0, 0];
    bytes.extend(ciaddr.octets());
    bytes.extend([0; 12]);
    bytes.extend(mac.0);
    bytes.extend([0; 10 + 64 + 128]);
    bytes.extend([99, 130, 83, 99, 53, 1, kind]);
    for (code, value) in options {
        bytes.extend([*code, value.len() as u8]);
        bytes.extend(*value);
    }
    bytes.push(255);
    bytes
}

/// The source of the answer, and its content.
fn hear(network: &Network, from: InterfaceIndex, frame: &[u8]) -> Result<(Ipv4Addr, Message), DropReason> {
    let (_, answer) = network.send(from, frame)?;
    let parsed = etherparse::SlicedPacket::from_ethernet(&answer).unwrap();
    let Some(etherparse::NetSlice::Ipv4(ip)) = &parsed.net else {
        panic!("no IPv4")
    };
    let message = Message::decode(&mut Decoder::new(&answer[42..])).unwrap();
    Ok((ip.header().source_addr(), message))
}

fn discover(
    network: &Network,
    from: InterfaceIndex,
    options: &[(u8, &[u8])],
) -> Result<(Ipv4Addr, Message), DropReason> {
    let mac = network.mac(from);
    let broadcast = (MacAddr::BROADCAST, Ipv4Addr::BROADCAST, 67);
    let frame = ipv4(
        (mac, Ipv4Addr::UNSPECIFIED, 68),
        broadcast,
        &message(mac, Ipv4Addr::UNSPECIFIED, 1, options),
    );
    hear(network, from, &frame)
}

/// The octets of an option unknown to the reader.
fn unknown(message: &Message, code: u8) -> Option<Vec<u8>> {
    match message.opts().get(OptionCode::from(code)) {
        Some(O::Unknown(option)) => Some(option.data().to_vec()),
        None => None,
        other => panic!("{other:?}"),
    }
}

/// monogon#89, buildrump.sh#80, 9legacy#12.
#[test]
fn a_lease_of_google_cloud_has_its_routes_in_option_121() {
    let network = Network::new(Profile::gcp(), DhcpOptions::for_region("us-east-2"));
    let (server, offer) = discover(&network, network.host, &[(55, &[1, 3, 6, 26, 42, 121, 249])]).unwrap();
    assert_eq!((server, offer.yiaddr()), (METADATA, PRIMARY));
    let routes = vec![(GATEWAY.into(), Ipv4Addr::UNSPECIFIED), (Ipv4Net::default(), GATEWAY)];
    let expected = [
        (OptionCode::ServerIdentifier, O::ServerIdentifier(METADATA)),
        (OptionCode::SubnetMask, O::SubnetMask(Ipv4Addr::BROADCAST)),
        (OptionCode::Router, O::Router(vec![GATEWAY])),
        (OptionCode::DomainNameServer, O::DomainNameServer(vec![METADATA])),
        (OptionCode::NtpServers, O::NtpServers(vec![METADATA])),
        (OptionCode::InterfaceMtu, O::InterfaceMtu(1460)),
        (OptionCode::AddressLeaseTime, O::AddressLeaseTime(86_400)),
        (OptionCode::ClasslessStaticRoute, O::ClasslessStaticRoute(routes)),
    ];
    for (code, option) in expected {
        assert_eq!(offer.opts().get(code), Some(&option));
    }
    // RFC 3442: 10.0.16.1/32 on the link, 0.0.0.0/0 by it.
    let octets = [32, 10, 0, 16, 1, 0, 0, 0, 0, 0, 10, 0, 16, 1];
    assert_eq!(unknown(&offer, 249), Some(octets.to_vec()));
    let (_, bare) = discover(&network, network.host, &[(55, &[1, 3])]).unwrap();
    assert_eq!(bare.opts().get(OptionCode::ClasslessStaticRoute), None, "not asked for");
    // The client renews at the server's own address.
    let renew = message(HOST, PRIMARY, 3, &[]);
    let frame = ipv4((HOST, PRIMARY, 68), (ROUTER, METADATA, 67), &renew);
    assert!(hear(&network, network.host, &frame).is_ok());
}

/// cloud-init#5146 prints the routes: 0,10,0,0,1,32,168,63,129,16,10,0,0,1,32,169,254,169,254,10,0,0,1.
#[test]
fn a_lease_of_azure_has_routes_to_its_services_and_option_245() {
    let network = Network::new(Profile::azure(), DhcpOptions::for_region("us-east-2"));
    let (server, offer) = discover(&network, network.host, &[(55, &[1, 3, 6, 121, 249])]).unwrap();
    assert_eq!(server, WIRE_SERVER);
    let routes = [
        &[0, 10, 0, 16, 1][..],
        &[32, 168, 63, 129, 16, 10, 0, 16, 1],
        &[32, 169, 254, 169, 254, 10, 0, 16, 1],
    ]
    .concat();
    assert_eq!(unknown(&offer, 249), Some(routes));
    assert_eq!(
        unknown(&offer, 245),
        Some(WIRE_SERVER.octets().to_vec()),
        "asked for or not"
    );
    assert_eq!(
        offer.opts().get(OptionCode::AddressLeaseTime),
        Some(&O::AddressLeaseTime(u32::MAX))
    );
    assert_eq!(
        offer.opts().get(OptionCode::SubnetMask),
        Some(&O::SubnetMask(Ipv4Addr::new(255, 255, 240, 0)))
    );
}

/// systemd#17883: Hetzner Cloud leases a /32 whose gateway is 172.31.1.1.
#[test]
fn a_gateway_may_lie_outside_of_every_range() {
    let outside = Ipv4Addr::new(172, 31, 1, 1);
    let mut profile = Profile::lan();
    profile.host_prefix_length = Some(32);
    profile.router.gateway = Some(outside);
    profile.dhcp.v4.classless_routes = vec![LeasedRoute::Gateway, LeasedRoute::Default];
    let network = Network::new(profile, DhcpOptions::for_region("us-east-2"));
    let (server, offer) = discover(&network, network.host, &[]).unwrap();
    assert_eq!(server, outside);
    assert_eq!(offer.opts().get(OptionCode::Router), Some(&O::Router(vec![outside])));
    let routes = vec![(outside.into(), Ipv4Addr::UNSPECIFIED), (Ipv4Net::default(), outside)];
    assert_eq!(
        offer.opts().get(OptionCode::ClasslessStaticRoute),
        Some(&O::ClasslessStaticRoute(routes))
    );
    let view = network.writer.view();
    let subnet = view.subnet(network.subnet).unwrap();
    assert_eq!(
        subnet.router_ipv4(outside),
        Some(crate::datapath::RouterAddress::Gateway)
    );
    assert_eq!(
        subnet.router_ipv4(GATEWAY),
        None,
        "the first address is no gateway then"
    );
}

/// amazon-ec2-utils#27, cloud-init#5307, rabbitmq-server#14974: 169.254.241.161/32 and 169.254.1.74/32 were seen.
#[test]
fn a_host_of_a_subnet_without_ipv4_is_leased_a_link_local_address() {
    let network = Network::aws();
    let mac = network.mac(network.alone);
    let (server, offer) = discover(&network, network.alone, &[]).unwrap();
    let leased = offer.yiaddr();
    assert_eq!(server, LINK_LOCAL_GATEWAY);
    let [_, _, third, fourth] = leased.octets();
    assert!(
        leased.is_link_local() && (1..=254).contains(&third) && third & 0xfc != 168,
        "{leased}"
    );
    assert_ne!(fourth, 0);
    let expected = [
        (OptionCode::ServerIdentifier, O::ServerIdentifier(LINK_LOCAL_GATEWAY)),
        (OptionCode::SubnetMask, O::SubnetMask(Ipv4Addr::BROADCAST)),
        (OptionCode::AddressLeaseTime, O::AddressLeaseTime(3600)),
        (OptionCode::Router, O::Router(vec![LINK_LOCAL_GATEWAY])),
        (
            OptionCode::DomainNameServer,
            O::DomainNameServer(vec![Ipv4Addr::new(169, 254, 169, 253)]),
        ),
    ];
    for (code, option) in expected {
        assert_eq!(offer.opts().get(code), Some(&option));
    }
    assert_eq!(offer.opts().get(OptionCode::Hostname), None);
    // Requests for other addresses are refused.
    let ask = |address: Ipv4Addr| {
        let request = message(
            mac,
            Ipv4Addr::UNSPECIFIED,
            3,
            &[(50, &address.octets()), (54, &server.octets())],
        );
        let broadcast = (MacAddr::BROADCAST, Ipv4Addr::BROADCAST, 67);
        let frame = ipv4((mac, Ipv4Addr::UNSPECIFIED, 68), broadcast, &request);
        hear(&network, network.alone, &frame).unwrap().1.opts().msg_type()
    };
    assert_eq!(ask(leased), Some(MessageType::Ack));
    assert_eq!(ask(Ipv4Addr::new(169, 254, 7, 7)), Some(MessageType::Nak));
    // It is the interface's own address, by which it reaches the services only.
    let own = |address| {
        let view = network.writer.view();
        let interface = view.interface(network.alone).unwrap();
        let subnet = view.subnet(crate::datapath::SubnetIndex(interface.subnet)).unwrap();
        subnet.leased_link_local(interface.mac) == Some(address)
    };
    assert!(own(leased) && !own(Ipv4Addr::new(169, 254, 7, 7)));
    let mut profile = Profile::aws();
    profile.dhcp.v4.ipv6_only_lease = false;
    let network = Network::new(profile, DhcpOptions::for_region("us-east-2"));
    let refused = discover(&network, network.alone, &[]);
    assert_eq!(refused.err(), Some(DropReason::Dhcpv4NoAddress));
}
