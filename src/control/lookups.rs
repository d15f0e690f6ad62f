//! Reads what further faces ask of the network: its region, gateways, public addresses, the outside, and free addresses.

use super::controller::Controller;
use super::error::ControlError;
use crate::model::{
    AllocationId, ElasticIp, InternetGateway, InternetGatewayId, NetworkInterface, ResourceRef, SubnetId,
};

/// The account that owns everything: the number in AWS's examples.
pub const ACCOUNT: &str = "123456789012";

impl Controller {
    /// The region of the network.
    pub fn region(&self) -> String {
        self.read().network.region().to_owned()
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

    /// The interfaces of the hosts of the outside, by identifier.
    pub fn outside_hosts(&self) -> Vec<NetworkInterface> {
        self.read().network.outside_hosts().collect()
    }

    /// How many IPv4 addresses of a subnet no interface has.
    pub fn free_addresses(&self, subnet: SubnetId) -> u64 {
        self.read().network.free_ipv4(subnet)
    }
}
