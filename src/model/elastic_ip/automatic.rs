//! Assigns public addresses that EC2 gives by itself: to the primary interface of an instance that is launched in a subnet
//! with `map_public_ip_on_launch`, or by a launch that asks for it, for as long as it has no Elastic IP address (VPC guide, "Modify the public IPv4
//! addressing attribute").

use super::{AddressAssociation, ElasticIp};
use crate::model::command::Edit;
use crate::model::error::ModelError;
use crate::model::ids::InterfaceId;
use crate::model::network::fresh_id;

impl Edit<'_> {
    /// Gives the primary interface of a running instance a public address, or takes it away, as its subnet and its
    /// associations have it.
    ///
    /// Firewall facts G5: after an Elastic IP address was disassociated a new address comes, unless a second interface is
    /// attached. EC2 takes minutes for that; here it is there at once.
    pub(in crate::model) fn settle_automatic(&mut self, interface: InterfaceId) -> Result<(), ModelError> {
        let Some(state) = self.network.interfaces.get(&interface) else {
            return Ok(());
        };
        let record = &state.record;
        let own = state.primaries().0;
        let subnet = self.network.subnets.get(&record.subnet_id).map(|state| &state.subnet);
        let attached = record.attachment.filter(|place| place.device_index == 0);
        let alone = attached.is_some_and(|place| self.network.attached(place.instance_id).count() == 1);
        let of_subnet = subnet.is_some_and(|subnet| subnet.map_public_ip_on_launch);
        let wanted = record.settings.public_address.unwrap_or(of_subnet);
        let has = own.and_then(|private_ip| self.public_addresses.get(&(interface, private_ip)));
        let has = has.and_then(|id| self.elastic_ips.get(id)).cloned();
        match (has, own) {
            (Some(address), _) if address.automatic && attached.is_none() => self.delete(address),
            (None, Some(private_ip)) if wanted && alone => {
                let address = ElasticIp {
                    id: fresh_id(self.rng, |id| self.network.elastic_ips.contains_key(&id)),
                    name: None,
                    public_ip: self.network.free_address(self.rng)?,
                    automatic: true,
                    association: Some(AddressAssociation {
                        id: self.fresh_association(),
                        interface_id: interface,
                        private_ip,
                    }),
                    tags: Default::default(),
                };
                self.create(address);
            }
            _ => {}
        }
        Ok(())
    }
}
