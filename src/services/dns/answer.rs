//! Answers a DNS query for `ip-10-0-1-10.<domain>`, `i-….<domain>`, a public name or a reverse name. An unknown name gets NXDOMAIN, a
//! name without the requested record an empty answer, both with the SOA that RFC 2308 requires.

use std::net::{IpAddr, Ipv4Addr};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use ipnet::IpNet;

use super::{MAX_DATAGRAM, NameSource, Zone, dns64};
use crate::datapath::{SERVICES_IPV4, SERVICES_IPV6};
use crate::mapping::InterfaceIndex;
use crate::services::unanswered::Unanswered;

/// TTL in seconds of an answer, positive or negative.
const TTL: u32 = 60;

/// The result of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Send this answer.
    Reply(Vec<u8>),
    /// The name is outside the VPC's domains: ask the external resolver.
    Forward {
        /// Whether an answer without an IPv6 address is given one that is made of an IPv4 address.
        dns64: bool,
    },
    /// Send nothing.
    Ignore(Unanswered),
}

/// The answer to a query from an interface. `forwards`: whether there is an external resolver; without one, names
/// outside the VPC's domains are REFUSED.
pub fn answer(query: &[u8], datagram: bool, asker: InterfaceIndex, names: &dyn NameSource, forwards: bool) -> Outcome {
    let Some(header) = query.first_chunk::<12>() else {
        return Outcome::Ignore(Unanswered::DnsMalformed);
    };
    // Answering an answer could loop.
    if header[2] & 0x80 != 0 {
        return Outcome::Ignore(Unanswered::DnsResponse);
    }
    let Some(zone) = names.zone(asker) else {
        return Outcome::Ignore(Unanswered::DnsDisabled);
    };
    if !zone.enabled {
        return Outcome::Ignore(Unanswered::DnsDisabled);
    }
    let id = u16::from_be_bytes([header[0], header[1]]);
    let op_code = OpCode::from_u8((header[2] >> 3) & 0x0f);
    if op_code != OpCode::Query {
        return refuse(id, op_code, ResponseCode::NotImp);
    }
    match Message::from_vec(query) {
        Ok(message) => reply_to(&message, datagram, asker, names, &zone, forwards),
        Err(_) => refuse(id, op_code, ResponseCode::FormErr),
    }
}

/// SERVFAIL for a forwarded query without an answer.
pub(super) fn failure(query: &[u8], datagram: bool) -> Option<Vec<u8>> {
    let message = Message::from_vec(query).ok()?;
    let mut response = response_to(&message);
    response.metadata.response_code = ResponseCode::ServFail;
    encode(&response, datagram, &message)
}

/// An answer that is made here of external ones.
pub(super) fn own(answer: &Message, query: &Message, datagram: bool) -> Option<Vec<u8>> {
    encode(answer, datagram, query)
}

/// An external answer, truncated to what the client accepts in a datagram; `None` where that is impossible.
pub(super) fn fit(answer: Vec<u8>, query: &[u8]) -> Option<Vec<u8>> {
    let asked = Message::from_vec(query).ok()?;
    if answer.len() <= limit(&asked) {
        return Some(answer);
    }
    let cut = Message::from_vec(&answer).ok()?.truncate().to_vec().ok()?;
    (cut.len() <= limit(&asked)).then_some(cut)
}

fn refuse(id: u16, op_code: OpCode, code: ResponseCode) -> Outcome {
    match Message::error_msg(id, op_code, code).to_vec() {
        Ok(bytes) => Outcome::Reply(bytes),
        Err(_) => Outcome::Ignore(Unanswered::DnsMalformed),
    }
}

pub(super) fn response_to(query: &Message) -> Message {
    let mut response = Message::response(query.metadata.id, query.metadata.op_code);
    response.metadata.recursion_desired = query.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.metadata.checking_disabled = query.metadata.checking_disabled;
    response.add_queries(query.queries.iter().cloned());
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_DATAGRAM as u16);
        response.set_edns(edns);
    }
    response
}

/// Octets that the client accepts in a datagram (RFC 6891 section 6.2.5).
fn limit(query: &Message) -> usize {
    let offered = query.edns.as_ref().map_or(512, |edns| usize::from(edns.max_payload()));
    offered.clamp(512, MAX_DATAGRAM)
}

fn encode(response: &Message, datagram: bool, query: &Message) -> Option<Vec<u8>> {
    let bytes = response.to_vec().ok()?;
    if !datagram || bytes.len() <= limit(query) {
        return Some(bytes);
    }
    let cut = response.truncate().to_vec().ok()?;
    if cut.len() <= limit(query) {
        return Some(cut);
    }
    // So many questions that even echoing them is too long.
    let metadata = response.metadata;
    Message::error_msg(metadata.id, metadata.op_code, ResponseCode::FormErr)
        .to_vec()
        .ok()
}

fn reply_to(
    message: &Message,
    datagram: bool,
    asker: InterfaceIndex,
    names: &dyn NameSource,
    zone: &Zone,
    forwards: bool,
) -> Outcome {
    let mut response = response_to(message);
    let version = message.edns.as_ref().map_or(0, Edns::version);
    response.metadata.response_code = match message.queries.as_slice() {
        _ if message.metadata.message_type != MessageType::Query => ResponseCode::FormErr,
        _ if version > 0 => {
            // RFC 6891 section 6.1.3: BADVERS is 16, its upper bits in the OPT record.
            if let Some(edns) = response.edns.as_mut() {
                edns.set_rcode_high(1);
            }
            ResponseCode::BADVERS
        }
        [query] if query.query_class() != DNSClass::IN => ResponseCode::Refused,
        [query] => match look_up_for(query, message, asker, names, zone) {
            Found::Records(records) => {
                response.add_answers(records);
                ResponseCode::NoError
            }
            Found::NoData(apex) => {
                response.add_authority(authority(apex, zone));
                ResponseCode::NoError
            }
            Found::NoName(apex) => {
                response.add_authority(authority(apex, zone));
                ResponseCode::NXDomain
            }
            Found::Elsewhere if forwards => {
                let dns64 = zone.dns64 && dns64::may_be_given(message);
                return Outcome::Forward { dns64 };
            }
            Found::Elsewhere => ResponseCode::Refused,
        },
        _ => ResponseCode::FormErr,
    };
    match encode(&response, datagram, message) {
        Some(bytes) => Outcome::Reply(bytes),
        None => Outcome::Ignore(Unanswered::DnsMalformed),
    }
}

/// The result of a look-up; a negative one names the apex of its SOA.
enum Found {
    Records(Vec<Record>),
    NoData(Name),
    NoName(Name),
    Elsewhere,
}

/// The same with addresses that are made, where there are none for a host of IPv6.
fn look_up_for(query: &Query, message: &Message, asker: InterfaceIndex, names: &dyn NameSource, zone: &Zone) -> Found {
    let found = look_up(query, asker, names, zone);
    if !matches!(found, Found::NoData(_)) || !zone.dns64 || !dns64::may_be_given(message) {
        return found;
    }
    match look_up(&dns64::for_ipv4(query), asker, names, zone) {
        Found::Records(records) => match dns64::made(&records, TTL) {
            made if made.is_empty() => found,
            made => Found::Records(made),
        },
        _ => found,
    }
}

fn look_up(query: &Query, asker: InterfaceIndex, names: &dyn NameSource, zone: &Zone) -> Found {
    let name = query.name();
    if let Some(net) = reverse_of(name) {
        return reverse(query, net, asker, names, zone);
    }
    let Some(domain) = domain_name(zone).filter(|domain| domain.zone_of(name)) else {
        let found = public(query, asker, names).or_else(|| endpoint(query, asker, names));
        return found.unwrap_or(Found::Elsewhere);
    };
    match name.num_labels() - domain.num_labels() {
        0 => return Found::NoData(domain),
        1 => {}
        _ => return Found::NoName(domain),
    }
    let label = name
        .iter()
        .next()
        .map(|label| String::from_utf8_lossy(label).to_ascii_lowercase());
    let Some((ipv4, ipv6)) = label.and_then(|label| host(&label, asker, names)) else {
        return Found::NoName(domain);
    };
    let kind = query.query_type();
    let ipv4 = ipv4
        .into_iter()
        .filter(|_| matches!(kind, RecordType::A | RecordType::ANY));
    let ipv6 = ipv6
        .into_iter()
        .filter(|_| matches!(kind, RecordType::AAAA | RecordType::ANY));
    let data = ipv4.map(|a| RData::A(A(a))).chain(ipv6.map(|a| RData::AAAA(AAAA(a))));
    let records: Vec<Record> = data.map(|data| Record::from_rdata(name.clone(), TTL, data)).collect();
    if records.is_empty() {
        Found::NoData(domain)
    } else {
        Found::Records(records)
    }
}

/// The public name of an address.
fn public(query: &Query, asker: InterfaceIndex, names: &dyn NameSource) -> Option<Found> {
    let address = names.public_name(asker, &query.name().to_ascii())?;
    Some(match query.query_type() {
        RecordType::A | RecordType::ANY => {
            let record = Record::from_rdata(query.name().clone(), TTL, RData::A(A(address)));
            Found::Records(vec![record])
        }
        _ => Found::NoData(query.name().base_name()),
    })
}

/// A name of the API, which leads to the VPC's own endpoint. One that has a TCP port alone, and an address of each family.
fn endpoint(query: &Query, asker: InterfaceIndex, names: &dyn NameSource) -> Option<Found> {
    let asked = query.name().to_ascii();
    let asked = asked.trim_end_matches('.');
    if !names
        .api_names(asker)
        .iter()
        .any(|known| known.eq_ignore_ascii_case(asked))
    {
        return None;
    }
    let record = |data| Record::from_rdata(query.name().clone(), TTL, data);
    let (ipv4, ipv6) = (SERVICES_IPV4[3], SERVICES_IPV6[3]);
    let records = match query.query_type() {
        RecordType::A => vec![record(RData::A(A(ipv4)))],
        RecordType::AAAA => vec![record(RData::AAAA(AAAA(ipv6)))],
        RecordType::ANY => vec![record(RData::A(A(ipv4))), record(RData::AAAA(AAAA(ipv6)))],
        _ => return Some(Found::NoData(query.name().base_name())),
    };
    Some(Found::Records(records))
}

/// The addresses of the single label below the domain.
fn host(
    label: &str,
    asker: InterfaceIndex,
    names: &dyn NameSource,
) -> Option<(Vec<Ipv4Addr>, Vec<std::net::Ipv6Addr>)> {
    if label == "instance-data" {
        // The name by which early tools look for the metadata service.
        return Some((vec![SERVICES_IPV4[0]], vec![SERVICES_IPV6[0]]));
    }
    if let Some(address) = address_in(label) {
        names.holder(asker, address.into())?;
        return Some((vec![address], Vec::new()));
    }
    let addresses = label
        .starts_with("i-")
        .then(|| names.instance_addresses(asker, label))??;
    Some((addresses.ipv4, addresses.ipv6))
}

/// Reads `ip-10-0-1-10` as an address; only the canonical form is accepted.
fn address_in(label: &str) -> Option<Ipv4Addr> {
    let address: Ipv4Addr = label.strip_prefix("ip-")?.replace('-', ".").parse().ok()?;
    (ip_label(address) == label).then_some(address)
}

/// The private name of an address, without the domain (EC2 guide, "IP name").
fn ip_label(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("ip-{a}-{b}-{c}-{d}")
}

fn reverse_of(name: &Name) -> Option<IpNet> {
    let mut name = name.clone();
    name.set_fqdn(true);
    name.parse_arpa_name().ok()
}

fn reverse(query: &Query, net: IpNet, asker: InterfaceIndex, names: &dyn NameSource, zone: &Zone) -> Found {
    if !zone.cidrs.iter().any(|cidr| cidr.contains(&net)) {
        return Found::Elsewhere;
    }
    let name = query.name();
    let apex = name.trim_to(if net.addr().is_ipv4() { 4 } else { 16 });
    if net.prefix_len() < net.max_prefix_len() {
        return Found::NoData(apex);
    }
    let Some(holder) = names.holder(asker, net.addr()) else {
        return Found::NoName(apex);
    };
    let label = match net.addr() {
        IpAddr::V4(address) => Some(ip_label(address)),
        IpAddr::V6(_) => holder.instance_id,
    };
    let host = label.and_then(|label| domain_name(zone)?.prepend_label(label).ok());
    match (host, query.query_type()) {
        (None, _) => Found::NoName(apex),
        (Some(host), RecordType::PTR | RecordType::ANY) => {
            Found::Records(vec![Record::from_rdata(name.clone(), TTL, RData::PTR(PTR(host)))])
        }
        (Some(_), _) => Found::NoData(apex),
    }
}

fn domain_name(zone: &Zone) -> Option<Name> {
    let mut name = Name::from_ascii(&zone.domain).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// The SOA record of a negative answer; its last field is the negative TTL (RFC 2308 section 4).
fn authority(apex: Name, zone: &Zone) -> Record {
    let named = |label: &str| {
        let domain = domain_name(zone).unwrap_or_else(Name::root);
        domain.prepend_label(label).unwrap_or(domain)
    };
    let soa = SOA::new(named("ns0"), named("hostmaster"), 1, 3600, 600, 86_400, TTL);
    Record::from_rdata(apex, TTL, RData::SOA(soa))
}
