//! Gives hosts of IPv6 an address for a name that has IPv4 addresses alone (DNS64, RFC 6147), where their subnet asks for it
//! (VPC guide, "DNS64 and NAT64"; firewall facts A15): the IPv4 address in `64:ff9b::/96`, which a NAT gateway translates.

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::rdata::AAAA;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};

use super::answer::response_to;
use crate::wire::siit::embedded;

/// RFC 6147 section 5.1.7: the longest life of a record that is made, where the negative answer does not say it.
const MOST_TTL: u32 = 600;

/// Whether a query may be given addresses that are made: for AAAA records, from a client that does not validate answers itself
/// (RFC 6147 section 5.5).
pub(super) fn may_be_given(query: &Message) -> bool {
    let validates = query.metadata.checking_disabled && query.edns.as_ref().is_some_and(dnssec_ok);
    let asks = matches!(query.queries.as_slice(), [one] if one.query_type() == RecordType::AAAA
        && one.query_class() == DNSClass::IN);
    asks && !validates
}

fn dnssec_ok(edns: &Edns) -> bool {
    edns.flags().dnssec_ok
}

/// Whether an answer has no address for a host of IPv6. A name that does not exist has none of any kind; another error counts as
/// an empty answer (RFC 6147 section 5.1.2), and so do IPv4-mapped addresses (section 5.1.4).
pub(super) fn is_without_address(answer: &Message) -> bool {
    let is_usable =
        |record: &Record| matches!(&record.data, RData::AAAA(AAAA(address)) if address.to_ipv4_mapped().is_none());
    let code = answer.metadata.response_code;
    code != ResponseCode::NXDomain && (code != ResponseCode::NoError || !answer.answers.iter().any(is_usable))
}

/// The question for IPv4 addresses instead.
pub(super) fn for_ipv4(question: &Query) -> Query {
    let mut question = question.clone();
    question.set_query_type(RecordType::A);
    question
}

/// A query for IPv4 addresses in the place of one for IPv6 addresses.
pub(super) fn asked_for_ipv4(query: &Message) -> Option<Vec<u8>> {
    let mut query = query.clone();
    let question = for_ipv4(query.queries.first()?);
    query.queries = vec![question];
    query.to_vec().ok()
}

/// The records with IPv6 addresses in the place of IPv4 ones, with the names that lead to them (RFC 6147 sections 5.1.5 to
/// 5.1.7). None, where there is no IPv4 address.
pub(super) fn made(records: &[Record], most: u32) -> Vec<Record> {
    if !records.iter().any(|record| matches!(record.data, RData::A(_))) {
        return Vec::new();
    }
    let one = |record: &Record| match &record.data {
        RData::A(address) => {
            let data = RData::AAAA(AAAA(embedded(address.0)));
            Some(Record::from_rdata(record.name.clone(), record.ttl.min(most), data))
        }
        RData::CNAME(_) => Some(record.clone()),
        // DNAME among them: the CNAME that it stands for is there too. No signature holds for what is made.
        _ => None,
    };
    records.iter().filter_map(one).collect()
}

/// The answer to a query for IPv6 addresses from the one that has none and the one with IPv4 addresses.
pub(super) fn joined(query: &Message, without: &Message, ipv4: &Message) -> Option<Message> {
    let soa = without
        .authorities
        .iter()
        .find(|record| matches!(record.data, RData::SOA(_)));
    let records = made(&ipv4.answers, soa.map_or(MOST_TTL, |soa| soa.ttl));
    if records.is_empty() || ipv4.metadata.response_code != ResponseCode::NoError {
        return None;
    }
    let mut answer = response_to(query);
    answer.add_answers(records);
    Some(answer)
}
