//! Reads what further faces ask of the network: its region, and free addresses.

use super::controller::Controller;
use crate::model::SubnetId;

/// The account that owns everything: the number in AWS's examples.
pub const ACCOUNT: &str = "123456789012";

impl Controller {
    /// The region of the network.
    pub fn region(&self) -> String {
        self.read().network.region().to_owned()
    }

    /// How many IPv4 addresses of a subnet no interface has.
    pub fn free_addresses(&self, subnet: SubnetId) -> u64 {
        self.read().network.free_ipv4(subnet)
    }
}
