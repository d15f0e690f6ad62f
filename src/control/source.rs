//! Answers the link-local services from the network as it is when they ask: a moved address disappears from one
//! instance's metadata and appears in the other's when the data path delivers it there.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::BASE32_NOPAD;
use ipnet::IpNet;

use super::controller::{Controller, State};
use super::credentials::{RoleSecret, Session};
use super::lookups::ACCOUNT;
use crate::datapath::faults::MetadataFault;
use crate::mapping::InterfaceIndex;
use crate::model::ids::ResourceId;
use crate::model::metadata::{HttpTokens, InstanceMetadata};
use crate::model::region::{api_names, ip_name, private_domain, public_address_of, public_name, region_of};
use crate::model::{AddressOrPrefix, InstanceId, InterfaceId, NetworkInterface, SecurityGroupId, Vpc};
use crate::services::dns::{Holder, HostAddresses, NameSource, Zone};
use crate::services::imds::MetadataSource;
use crate::services::imds::document::{Instance, Interface, MetadataOptions, PublicKey, Role};
use crate::services::ntp::TimeSource;

/// The life of a role's credentials (EC2 guide, "Retrieve security credentials from instance metadata": about 6 hours).
const CREDENTIALS: Duration = Duration::from_secs(6 * 3600);

impl State {
    fn asker(&self, index: InterfaceIndex) -> Option<(NetworkInterface, &Vpc, &crate::model::Subnet)> {
        let id = self.binding.interface_id(index)?;
        let interface = self.network.interface(&id.into()).ok()?;
        let vpc = self.network.vpc(&interface.vpc_id.into()).ok()?;
        let subnet = self.network.subnet(&interface.subnet_id.into()).ok()?;
        Some((interface, vpc, subnet))
    }

    /// Of what was assigned to the interface, what the data path delivers to it.
    fn arrived<T: Copy + PartialEq>(
        &self,
        (index, interface): (InterfaceIndex, &NetworkInterface),
        all: &[T],
        now: Duration,
        as_block: impl Fn(T) -> Option<AddressOrPrefix>,
        as_item: impl Fn(AddressOrPrefix) -> Option<T>,
    ) -> Vec<T> {
        let Some(place) = self.binding.subnet_index(interface.subnet_id) else {
            return Vec::new();
        };
        let (lag, id) = (&self.faults.lag, interface.id);
        let here = |item: &T| {
            let Some(block) = as_block(*item) else { return false };
            let owner = || self.binding.writer().owner(place, block.first());
            lag.told(id, block, now).unwrap_or_else(|| owner() == Some(index))
        };
        let mut told: Vec<T> = all.iter().copied().filter(here).collect();
        // Addresses that it has lost, but that the metadata service still lists.
        for item in lag.still_told(id, now).filter_map(as_item) {
            if !told.contains(&item) {
                told.push(item);
            }
        }
        told
    }

    /// The metadata of the host behind an interface: those of its instance, through whichever interface it asks.
    fn document(&self, index: InterfaceIndex, now: Duration, secret: &RoleSecret) -> Option<Instance> {
        let asker = self.binding.interface_id(index)?;
        let own = self.network.instance_of(asker)?;
        let (interface, _, subnet) = self.asker(self.binding.interface_index(own.primary_interface_id)?)?;
        let launched = own.launched_at.unwrap_or(UNIX_EPOCH);
        let region = region_of(&subnet.availability_zone).to_owned();
        let metadata = &own.metadata;
        let launch = own.launch.as_ref();
        // Tags that the instance does not have come from its primary interface.
        let mut tags = interface.tags.clone();
        tags.extend(own.tags.clone());
        let name = own.name.as_ref().or(interface.name.as_ref());
        tags.extend(name.map(|name| ("Name".to_owned(), name.clone())));
        Some(Instance {
            instance_id: own.id.to_string(),
            reservation_id: own.reservation(),
            ami_id: own.image().to_owned(),
            ami_launch_index: launch.map_or(0, |launch| launch.index),
            instance_type: metadata.instance_type.clone(),
            architecture: match std::env::consts::ARCH {
                "aarch64" => "arm64".to_owned(),
                other => other.to_owned(),
            },
            account_id: ACCOUNT.to_owned(),
            region,
            availability_zone: subnet.availability_zone.clone(),
            availability_zone_id: None,
            partition: "aws".to_owned(),
            service_domain: "amazonaws.com".to_owned(),
            launched,
            block_devices: [("ami", "/dev/xvda"), ("root", "/dev/xvda")]
                .map(|(name, device)| (name.to_owned(), device.to_owned()))
                .into(),
            public_keys: launch
                .and_then(|launch| {
                    let (name, openssh) = (launch.key_name.clone()?, launch.authorized_key.clone()?);
                    Some(PublicKey { name, openssh })
                })
                .into_iter()
                .collect(),
            role: metadata
                .iam_role
                .as_deref()
                .map(|name| role(name, own.id, launched, secret)),
            tags: tags.into_iter().collect(),
            user_data: metadata.user_data.clone().map(String::into_bytes),
            interfaces: self.interfaces_of(&interface, now),
            options: served(metadata),
        })
    }

    /// The primary interface of an instance, and its other interfaces.
    fn interfaces_of(&self, primary: &NetworkInterface, now: Duration) -> Vec<Interface> {
        let own = self.network.own_instance(primary.id).map(|instance| instance.id);
        let attached = own.into_iter().flat_map(|instance| self.network.attached(instance));
        let further = attached.filter(|(_, id)| *id != primary.id);
        let gone = own
            .into_iter()
            .flat_map(|instance| self.faults.lag.still_listed(instance, now));
        std::iter::once((0, primary.id))
            .chain(further)
            .chain(gone)
            .filter_map(|(device_number, id)| {
                let index = self.binding.interface_index(id)?;
                let document = self.interface_document(device_number, index, now)?;
                self.as_told(index, document, now)
            })
            .collect()
    }

    fn interface_document(&self, device_number: u32, index: InterfaceIndex, now: Duration) -> Option<Interface> {
        let (interface, vpc, subnet) = self.asker(index)?;
        let options = self.network.options_of(vpc.dhcp_options_id);
        // The name has the domain of the DHCP options if they set one; the resolver knows the region's only.
        let own_domain = || private_domain(region_of(&subnet.availability_zone));
        let domain = options.domains().next().map_or_else(own_domain, str::to_owned);
        let here = (index, &interface);
        let host = |address: IpAddr| Some(AddressOrPrefix::from(address));
        let ipv4 = self.arrived(
            here,
            &interface.ipv4_addresses,
            now,
            |address| host(address.into()),
            |block| match block.address()? {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            },
        );
        let ipv6 = self.arrived(
            here,
            &interface.ipv6_addresses,
            now,
            |address| host(address.into()),
            |block| match block.address()? {
                IpAddr::V6(address) => Some(address),
                IpAddr::V4(_) => None,
            },
        );
        let public_ipv4s = interface.public_addresses.iter();
        let public_ipv4s = public_ipv4s
            .filter_map(|address| Some((address.public_ip, address.association?.private_ip)))
            .filter(|(_, private)| ipv4.contains(private))
            .collect::<Vec<_>>();
        let prefix = |block: AddressOrPrefix| block.is_prefix().then(|| block.net());
        let ipv4_prefixes = self.arrived(
            here,
            &interface.ipv4_prefixes,
            now,
            |net| AddressOrPrefix::new(net.into()).ok(),
            |block| match prefix(block)? {
                IpNet::V4(net) => Some(net),
                IpNet::V6(_) => None,
            },
        );
        let ipv6_prefixes = self.arrived(
            here,
            &interface.ipv6_prefixes,
            now,
            |net| AddressOrPrefix::new(net.into()).ok(),
            |block| match prefix(block)? {
                IpNet::V6(net) => Some(net),
                IpNet::V4(_) => None,
            },
        );
        let local_hostname = ipv4.first().map(|address| format!("{}.{domain}", ip_name(*address)));
        Some(Interface {
            mac: interface.mac_address,
            interface_id: interface.id.to_string(),
            device_number,
            network_card: None,
            local_ipv4s: ipv4,
            ipv6s: ipv6,
            ipv4_prefixes,
            ipv6_prefixes,
            public_hostname: public_ipv4s
                .first()
                .filter(|_| vpc.attributes.dns_hostnames)
                .map(|(public, _)| public_name(*public, region_of(&subnet.availability_zone))),
            public_ipv4s,
            subnet_id: subnet.id.to_string(),
            subnet_ipv4: subnet.cidr_block,
            subnet_ipv6: subnet.ipv6_cidr_block.into_iter().collect(),
            vpc_id: vpc.id.to_string(),
            vpc_ipv4: vpc.cidr_blocks.clone(),
            vpc_ipv6: vpc.ipv6_cidr_blocks.clone(),
            security_groups: self.group_names(&interface.groups),
            owner_id: ACCOUNT.to_owned(),
            local_hostname,
        })
    }

    /// The identifiers and names of security groups.
    fn group_names(&self, groups: &[SecurityGroupId]) -> Vec<(String, String)> {
        let groups = groups.iter().filter_map(|id| self.network.group(*id).ok());
        groups
            .map(|group| (group.id.to_string(), group.group_name.clone()))
            .collect()
    }

    /// The owner of an address in the client's VPC.
    fn owner_in_vpc(&self, asker: InterfaceIndex, address: IpAddr) -> Option<InterfaceId> {
        let (_, vpc, _) = self.asker(asker)?;
        let mut subnets = self.network.subnets().filter(|subnet| subnet.vpc_id == vpc.id);
        let subnet = subnets.find(|subnet| {
            let blocks = [subnet.cidr_block.map(IpNet::V4), subnet.ipv6_cidr_block.map(IpNet::V6)];
            blocks.iter().flatten().any(|block| block.contains(&address))
        })?;
        let owner = self
            .binding
            .writer()
            .owner(self.binding.subnet_index(subnet.id)?, address)?;
        self.binding.interface_id(owner)
    }
}

fn served(metadata: &InstanceMetadata) -> MetadataOptions {
    MetadataOptions {
        http_endpoint: metadata.enabled,
        tokens_required: metadata.http_tokens == HttpTokens::Required,
        hop_limit: metadata.http_put_response_hop_limit,
        http_protocol_ipv6: metadata.http_protocol_ipv6,
        instance_tags: metadata.instance_tags,
    }
}

/// The credentials of an instance's role. They are renewed as EC2 renews them.
fn role(name: &str, instance: InstanceId, launched: SystemTime, secret: &RoleSecret) -> Role {
    let after = |time: SystemTime, by| time.checked_add(by).unwrap_or(time);
    let now = SystemTime::now();
    let age = now.duration_since(launched).unwrap_or_default();
    let period = age.as_secs() / (CREDENTIALS.as_secs() / 2);
    let last_updated = after(
        launched,
        (CREDENTIALS / 2).saturating_mul(u32::try_from(period).unwrap_or(u32::MAX)),
    );
    let expiration = after(last_updated, CREDENTIALS);
    // The name of the session is the instance (IAM guide, "Using an IAM role to grant permissions").
    let credentials = secret.credentials(&Session {
        role: name.to_owned(),
        name: instance.to_string(),
        instance: Some(instance),
        expires: expiration.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        number: 0,
    });
    let profile = instance.to_bits().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Role {
        name: name.to_owned(),
        instance_profile_arn: format!("arn:aws:iam::{ACCOUNT}:instance-profile/{name}"),
        instance_profile_id: format!("AIPA{}", BASE32_NOPAD.encode(&profile.to_be_bytes())),
        access_key_id: credentials.access_key_id,
        secret_access_key: credentials.secret_access_key,
        token: credentials.session_token,
        last_updated,
        expiration,
    }
}

impl MetadataSource for Controller {
    fn instance(&self, interface: InterfaceIndex) -> Option<Arc<Instance>> {
        let now = self.shared.timer.now();
        let secret = self.role_secret();
        self.read().document(interface, now, &secret).map(Arc::new)
    }

    fn fault(&self, interface: InterfaceIndex, path: &[&str]) -> Option<MetadataFault> {
        self.metadata_fault(interface, path)
    }
}

impl NameSource for Controller {
    fn zone(&self, asker: InterfaceIndex) -> Option<Zone> {
        let state = self.read();
        let (_, vpc, subnet) = state.asker(asker)?;
        Some(Zone {
            enabled: vpc.attributes.dns_support,
            domain: private_domain(region_of(&subnet.availability_zone)),
            cidrs: vpc.ranges(),
            dns64: subnet.enable_dns64,
        })
    }

    fn holder(&self, asker: InterfaceIndex, address: IpAddr) -> Option<Holder> {
        let state = self.read();
        let owner = state.owner_in_vpc(asker, address)?;
        let instance = state.network.instance_of(owner);
        Some(Holder {
            instance_id: instance.map(|instance| instance.id.to_string()),
        })
    }

    fn public_name(&self, asker: InterfaceIndex, name: &str) -> Option<Ipv4Addr> {
        let state = self.read();
        let (own, _, subnet) = state.asker(asker)?;
        let public = public_address_of(name, region_of(&subnet.availability_zone))?;
        let address = state
            .network
            .elastic_ips()
            .find(|address| address.public_ip == public)?;
        let private = address.association.filter(|association| {
            let place = state.network.place(association.interface_id);
            place.is_some_and(|(_, _, vpc)| vpc == own.vpc_id)
        });
        Some(private.map_or(public, |association| association.private_ip))
    }

    fn api_names(&self, _: InterfaceIndex) -> Vec<String> {
        api_names(self.read().network.region())
    }

    fn instance_addresses(&self, asker: InterfaceIndex, instance_id: &str) -> Option<HostAddresses> {
        let state = self.read();
        let (own, ..) = state.asker(asker)?;
        let id: InstanceId = instance_id.parse().ok()?;
        let primary = state.network.instance(&id.into()).ok()?.primary_interface_id;
        let found = state.network.interface(&primary.into()).ok()?;
        (found.vpc_id == own.vpc_id).then(|| HostAddresses {
            // A resource name stands for the primary address and the first IPv6 one (EC2 guide, "Resource name").
            ipv4: found.primary_ipv4().into_iter().collect(),
            ipv6: found.ipv6_addresses.first().copied().into_iter().collect(),
        })
    }
}

impl TimeSource for Controller {
    fn skew(&self, asker: InterfaceIndex) -> i64 {
        let state = self.read();
        let skew = state
            .asker(asker)
            .map_or(0, |(interface, ..)| interface.settings.ntp_skew.nanoseconds());
        let fault = self.service_faults(asker).clock_skew;
        skew.saturating_add(fault)
    }
}
