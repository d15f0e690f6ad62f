//! Reads what further faces ask of the network: its region, gateways, public addresses, the outside, and free addresses.

use super::controller::Controller;
use super::error::ControlError;
use crate::datapath::{NatCounters, VpcIndex};
use crate::model::block_public_access::BlockPublicAccess;
use crate::model::{
    AllocationId, EgressOnlyGateway, EgressOnlyGatewayId, ElasticIp, Endpoint, EndpointId, InternetGateway,
    InternetGatewayId, KeyPair, LaunchTemplate, NatGateway, NatGatewayId, NetworkInterface, Peering, PeeringId,
    PrefixList, ResourceRef, SubnetId, VpcId,
};

/// The account that owns everything: the number in AWS's examples.
pub const ACCOUNT: &str = "123456789012";

impl Controller {
    /// The region of the network.
    pub fn region(&self) -> String {
        self.read().network.region().to_owned()
    }

    /// The place of a VPC in the fabric.
    pub fn vpc_index(&self, id: VpcId) -> Option<VpcIndex> {
        self.read().binding.vpc_index(id)
    }

    /// The VPC at a place of the fabric.
    pub fn vpc_at(&self, index: VpcIndex) -> Option<VpcId> {
        self.read().binding.vpc_id(index)
    }

    /// All internet gateways, by identifier.
    pub fn internet_gateways(&self) -> Vec<InternetGateway> {
        self.read().network.internet_gateways().cloned().collect()
    }

    /// One internet gateway.
    pub fn internet_gateway(&self, gateway: &ResourceRef<InternetGatewayId>) -> Result<InternetGateway, ControlError> {
        Ok(self.read().network.internet_gateway(gateway)?.clone())
    }

    /// All Elastic IP addresses, by identifier.
    pub fn elastic_ips(&self) -> Vec<ElasticIp> {
        let state = self.read();
        let allocated = state.network.elastic_ips().filter(|address| !address.automatic);
        allocated.cloned().collect()
    }

    /// One Elastic IP address.
    pub fn elastic_ip(&self, address: &ResourceRef<AllocationId>) -> Result<ElasticIp, ControlError> {
        Ok(self.read().network.elastic_ip(address)?.clone())
    }

    /// All NAT gateways, by identifier, deleted ones that are listed included.
    pub fn nat_gateways(&self) -> Vec<NatGateway> {
        self.read().network.nat_gateways().cloned().collect()
    }

    /// One NAT gateway.
    pub fn nat_gateway(&self, gateway: &ResourceRef<NatGatewayId>) -> Result<NatGateway, ControlError> {
        Ok(self.read().network.nat_gateway(gateway)?.clone())
    }

    /// What a NAT gateway has counted, and how many connections it has now.
    pub fn nat_counters(&self, gateway: &ResourceRef<NatGatewayId>) -> Result<(NatCounters, usize), ControlError> {
        let state = self.read();
        let interface = state.network.nat_gateway(gateway)?.interface_id;
        let Some(index) = interface.and_then(|id| state.binding.interface_index(id)) else {
            return Ok((NatCounters::default(), 0));
        };
        let fabric = state.binding.writer().fabric();
        let now = self.shared.timer.now().as_secs() as u32;
        Ok((fabric.bindings().counters(index), fabric.bindings().active(index, now)))
    }

    /// All egress-only internet gateways, by identifier.
    pub fn egress_only_gateways(&self) -> Vec<EgressOnlyGateway> {
        self.read().network.egress_only_gateways().cloned().collect()
    }

    /// One egress-only internet gateway.
    pub fn egress_only_gateway(
        &self,
        gateway: &ResourceRef<EgressOnlyGatewayId>,
    ) -> Result<EgressOnlyGateway, ControlError> {
        Ok(self.read().network.egress_only_gateway(gateway)?.clone())
    }

    /// All peering connections, by identifier, those that are over and listed included.
    pub fn peerings(&self) -> Vec<Peering> {
        self.read().network.peerings().cloned().collect()
    }

    /// One peering connection.
    pub fn peering(&self, peering: &ResourceRef<PeeringId>) -> Result<Peering, ControlError> {
        Ok(self.read().network.peering(peering)?.clone())
    }

    /// All gateway endpoints, by identifier.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.read().network.endpoints().cloned().collect()
    }

    /// One gateway endpoint.
    pub fn endpoint(&self, endpoint: &ResourceRef<EndpointId>) -> Result<Endpoint, ControlError> {
        Ok(self.read().network.endpoint(endpoint)?.clone())
    }

    /// The prefix lists of the services with gateway endpoints, which are always there.
    pub fn managed_prefix_lists(&self) -> Vec<PrefixList> {
        self.read().network.managed_prefix_lists().cloned().collect()
    }

    /// What is blocked of the outside; `None` as long as nothing was set.
    pub fn block_public_access(&self) -> Option<BlockPublicAccess> {
        self.read().network.block_public_access().cloned()
    }

    /// All key pairs, by identifier.
    pub fn key_pairs(&self) -> Vec<KeyPair> {
        self.read().network.key_pairs().cloned().collect()
    }

    /// All launch templates, by identifier.
    pub fn launch_templates(&self) -> Vec<LaunchTemplate> {
        self.read().network.launch_templates().cloned().collect()
    }

    /// The interfaces of the hosts of the outside, by identifier.
    pub fn outside_hosts(&self) -> Vec<NetworkInterface> {
        self.read().network.outside_hosts().collect()
    }

    /// How many IPv4 addresses of a subnet no interface has.
    pub fn free_addresses(&self, subnet: SubnetId) -> u64 {
        self.read().network.free_ipv4(subnet)
    }
}
