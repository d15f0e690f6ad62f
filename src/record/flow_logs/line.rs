//! Writes a record as a line: the fields of the format, with spaces between them and `-` for what is not known (VPC guide,
//! "Flow log records").

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::aggregate::{Key, Sums};
use super::sighting::Action;
use crate::control::ACCOUNT;
use crate::model::flow_log::{FlowField, LogFormat};
use crate::model::{InstanceId, InterfaceId, SubnetId, VpcId};

/// What a record says of its interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) interface: InterfaceId,
    pub(super) vpc: VpcId,
    pub(super) subnet: SubnetId,
    /// None for an interface that is attached to no instance, or that a service of AWS owns.
    pub(super) instance: Option<InstanceId>,
    pub(super) region: String,
    pub(super) zone_id: String,
    pub(super) primary: Option<Ipv4Addr>,
    pub(super) ipv6: Vec<Ipv6Addr>,
}

impl Place {
    /// The address that a record shows for the interface's own side: of IPv4 always the primary one, whatever the packet
    /// had (VPC guide, fields `srcaddr` and `dstaddr`). Of IPv6 an address of its own is shown as it is, and one that it
    /// passes on as its first one; what EC2 does there is not documented.
    fn own(&self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(_) => self.primary.map_or(address, IpAddr::V4),
            IpAddr::V6(own) if self.ipv6.contains(&own) || own.is_unicast_link_local() => address,
            IpAddr::V6(_) => self.ipv6.first().copied().map_or(address, IpAddr::V6),
        }
    }
}

/// What happened in a window, in a record that has its outcome in `log-status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content<'a> {
    /// A flow.
    Flow(&'a Key, &'a Sums),
    /// The interface saw no packet.
    NoData,
    /// Some packets are in no record.
    SkipData,
}

/// One record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) place: &'a Place,
    pub(super) content: Content<'a>,
    /// Seconds since 1970 of the first and the last packet, or of the window.
    pub(super) start: u64,
    pub(super) end: u64,
}

/// The line, without its end.
pub(super) fn line(format: &LogFormat, record: &Record<'_>) -> String {
    let mut line = String::new();
    for (number, field) in format.fields().iter().enumerate() {
        if number > 0 {
            line.push(' ');
        }
        match record.value(*field, format) {
            Some(value) => line.push_str(&value),
            None => line.push('-'),
        }
    }
    line
}

impl Record<'_> {
    fn value(&self, field: FlowField, format: &LogFormat) -> Option<String> {
        use FlowField as F;
        let place = self.place;
        let text = |value: &dyn std::fmt::Display| {
            let mut text = String::new();
            // Writing into a string does not fail.
            let _ = write!(text, "{value}");
            Some(text)
        };
        match field {
            F::Version => text(&format.version()),
            F::AccountId => text(&ACCOUNT),
            F::InterfaceId => text(&place.interface),
            F::Start => text(&self.start),
            F::End => text(&self.end),
            F::LogStatus => text(&match self.content {
                Content::Flow(..) => "OK",
                Content::NoData => "NODATA",
                Content::SkipData => "SKIPDATA",
            }),
            F::VpcId => text(&place.vpc),
            F::SubnetId => text(&place.subnet),
            F::InstanceId => text(&place.instance?),
            F::Region => text(&place.region),
            F::AzId => text(&place.zone_id),
            _ => {
                let Content::Flow(key, sums) = self.content else {
                    return None;
                };
                place.of_flow(field, key, sums)
            }
        }
    }
}

impl Place {
    fn of_flow(&self, field: FlowField, key: &Key, sums: &Sums) -> Option<String> {
        use FlowField as F;
        let tuple = &key.tuple;
        let (source, destination) = match key.inbound {
            false => (self.own(tuple.source), tuple.destination),
            true => (tuple.source, self.own(tuple.destination)),
        };
        Some(match field {
            F::SrcAddr => source.to_string(),
            F::DstAddr => destination.to_string(),
            F::PktSrcAddr => tuple.source.to_string(),
            F::PktDstAddr => tuple.destination.to_string(),
            F::SrcPort => tuple.source_port.to_string(),
            F::DstPort => tuple.destination_port.to_string(),
            F::Protocol => tuple.protocol.to_string(),
            F::Packets => sums.packets.to_string(),
            F::Bytes => sums.octets.to_string(),
            F::Action => match key.action {
                Action::Accept => "ACCEPT".to_owned(),
                Action::Reject => "REJECT".to_owned(),
            },
            F::TcpFlags => sums.tcp_flags.to_string(),
            F::Type => if tuple.source.is_ipv4() { "IPv4" } else { "IPv6" }.to_owned(),
            F::FlowDirection => if key.inbound { "ingress" } else { "egress" }.to_owned(),
            F::TrafficPath => (sums.path.filter(|_| !key.inbound)? as u8).to_string(),
            F::RejectReason => sums.blocked.then(|| "BPA".to_owned())?,
            // No service of AWS has addresses here, and no task runs. Whether Nitro encrypts a flow is not known.
            _ => return None,
        })
    }
}
