//! Builds the networks in which the firewall and the gateways are measured.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::SystemTime;

use localvpc::control::{Controller, ControllerConfig, DevicePlace, OpenedDevice, Ports};
use localvpc::datapath::FabricWriter;
use localvpc::model::elastic_ip::{AllocateAddress, AssociateAddress, AssociateWith};
use localvpc::model::interface::{AddressRequest, CreateInterface, NetworkInterface};
use localvpc::model::internet_gateway::CreateInternetGateway;
use localvpc::model::nat_gateway::CreateNatGateway;
use localvpc::model::route_table::{AssociateRouteTable, CreateRouteTable, EditRoute, RouteEdit, TargetRef};
use localvpc::model::subnet::CreateSubnet;
use localvpc::model::vpc::CreateVpc;
use localvpc::model::{ResourceRef, SubnetId, VpcId, outside};
use localvpc::switch::port::{PortDevice, TapOptions};
use localvpc::switch::{Switch, SwitchConfig};

use super::{Outcome, open};

/// The host of the VPC, which sends.
const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 10);
/// The host in the same subnet.
const MEMBER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 11);
/// The host beyond the internet gateway.
const BEYOND: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 11);

type Made<T> = Result<T, Box<dyn std::error::Error>>;

/// Serves a network between two namespaces until it is killed. The first one has the host that sends.
pub(super) fn run(kind: &str, namespaces: [&str; 2]) -> Outcome {
    let fabric = FabricWriter::new();
    let (switch, _events) = Switch::start(fabric.fabric(), SwitchConfig::default())?;
    let ports: Arc<dyn Ports> = Arc::new(switch);
    let controller = Controller::new(ControllerConfig {
        seed: Some(1),
        fabric,
        ports: Some(ports),
        ..ControllerConfig::default()
    });
    let edge = Edge { controller };
    let hosts = edge.build(kind)?;
    for (host, namespace) in hosts.iter().zip(namespaces) {
        let device = OpenedDevice::from(PortDevice::from(open(namespace, TapOptions::default())?));
        edge.controller.attach(&host.id.into(), device, DevicePlace::Outside)?;
    }
    println!("ready {} {}", hosts[0].mac_address, hosts[1].mac_address);
    loop {
        std::thread::park();
    }
}

struct Edge {
    controller: Controller,
}

impl Edge {
    fn build(&self, kind: &str) -> Made<[NetworkInterface; 2]> {
        let vpc = self.controller.execute(CreateVpc::new("10.9.0.0/16".parse()?))?;
        let vpc = vpc.id;
        let subnet = self.subnet(vpc, "10.9.0.0/24")?;
        let inside = self.interface(subnet, INSIDE)?;
        match kind {
            "groups" => Ok([inside, self.interface(subnet, MEMBER)?]),
            "elastic-ip" => {
                self.gateway(vpc, subnet)?;
                let address = self.controller.execute(AllocateAddress::default())?;
                self.controller.execute(AssociateAddress {
                    address: address.id.into(),
                    with: AssociateWith::Interface(inside.id.into()),
                    private_ip: None,
                    reassociation_allowed: false,
                })?;
                Ok([inside, self.interface(outside::SUBNET, BEYOND)?])
            }
            "nat" => {
                let public = self.subnet(vpc, "10.9.1.0/24")?;
                self.gateway(vpc, public)?;
                let address = self.controller.execute(AllocateAddress::default())?;
                let nat = self.controller.execute(CreateNatGateway {
                    allocations: vec![address.id.into()],
                    ..CreateNatGateway::new(public, SystemTime::now())
                })?;
                self.default_route(vpc, subnet, TargetRef::NatGateway(nat.id.into()))?;
                Ok([inside, self.interface(outside::SUBNET, BEYOND)?])
            }
            other => Err(format!("there is no edge `{other}`: groups, elastic-ip or nat").into()),
        }
    }

    fn subnet(&self, vpc: VpcId, block: &str) -> Made<SubnetId> {
        let subnet = self.controller.execute(CreateSubnet {
            cidr_block: Some(block.parse()?),
            ..CreateSubnet::new(vpc)
        })?;
        Ok(subnet.id)
    }

    fn interface(&self, subnet: SubnetId, address: Ipv4Addr) -> Made<NetworkInterface> {
        let command = CreateInterface {
            addresses: vec![AddressRequest::Exactly(IpAddr::V4(address).into())],
            ..CreateInterface::new(subnet)
        };
        Ok(self.controller.execute(command)?)
    }

    /// An internet gateway that has the default route of a subnet.
    fn gateway(&self, vpc: VpcId, subnet: SubnetId) -> Outcome {
        let gateway = self.controller.execute(CreateInternetGateway {
            name: None,
            vpc: Some(vpc.into()),
            tags: Default::default(),
        })?;
        self.default_route(vpc, subnet, TargetRef::InternetGateway(gateway.id.into()))
    }

    fn default_route(&self, vpc: VpcId, subnet: SubnetId, target: TargetRef) -> Outcome {
        let table = self.controller.execute(CreateRouteTable {
            name: None,
            vpc: vpc.into(),
            tags: Default::default(),
        })?;
        let table: ResourceRef<_> = table.id.into();
        self.controller.execute(EditRoute {
            table: table.clone(),
            edit: RouteEdit::Put("0.0.0.0/0".parse()?, target),
        })?;
        self.controller.execute(AssociateRouteTable {
            table,
            subnet: subnet.into(),
            replacing: true,
        })?;
        Ok(())
    }
}
