//! Throttles requests as EC2 documents it: a token bucket for each action, and a further one for the instances it names.
//!
//! The numbers are those of "Request throttling for the Amazon EC2 API" (EC2 developer guide). There is one account and one
//! region, so a bucket is known by its action.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::Ec2Error;
use super::request::Request;

/// A bucket: the tokens that it holds at most, and those that it gains in a second.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Limit(u32, f64);

/// Actions whose name begins so retrieve data, unless they are listed below.
const NON_MUTATING_NAMES: [&str; 4] = ["Describe", "List", "Search", "Get"];
const NON_MUTATING: Limit = Limit(100, 20.0);
/// Of [`UNFILTERED`], without a filter and without a page size.
const UNFILTERED_LIMIT: Limit = Limit(50, 10.0);
const MUTATING: Limit = Limit(50, 5.0);
const RESOURCE_INTENSIVE_LIMIT: Limit = Limit(50, 5.0);

/// Actions with a smaller bucket for requests that have neither a filter nor a page size.
const UNFILTERED: &[&str] = &[
    "DescribeInstances",
    "DescribeInstanceStatus",
    "DescribeNetworkInterfaces",
    "DescribeSecurityGroups",
    "DescribeSnapshots",
    "DescribeSpotInstanceRequests",
    "DescribeVolumes",
];

/// Mutating actions that take the most time.
const RESOURCE_INTENSIVE: &[&str] = &[
    "AcceptVpcPeeringConnection",
    "AuthorizeSecurityGroupIngress",
    "CreateKeyPair",
    "CreateVpcPeeringConnection",
    "DeleteVpcPeeringConnection",
    "RejectVpcPeeringConnection",
    "RevokeSecurityGroupIngress",
];

/// Actions with a bucket of their own ("Uncategorized actions"), those of networks and instances.
const OWN: &[(&str, Limit)] = &[
    ("AcceptVpcEndpointConnections", Limit(10, 1.0)),
    ("AssignIpv6Addresses", Limit(100, 5.0)),
    ("AssignPrivateIpAddresses", Limit(100, 5.0)),
    ("AssignPrivateNatGatewayAddress", Limit(10, 1.0)),
    ("AssociateIamInstanceProfile", Limit(100, 5.0)),
    ("AssociateNatGatewayAddress", Limit(10, 1.0)),
    ("CreateDefaultSubnet", Limit(1, 1.0)),
    ("CreateDefaultVpc", Limit(1, 1.0)),
    ("CreateNatGateway", Limit(10, 1.0)),
    ("CreateNetworkInterface", Limit(100, 5.0)),
    ("CreateSubnetCidrReservation", Limit(5, 1.0)),
    ("CreateTags", Limit(100, 10.0)),
    ("CreateVolume", Limit(100, 5.0)),
    ("CreateVpcEndpoint", Limit(4, 0.3)),
    ("CreateVpcEndpointServiceConfiguration", Limit(10, 1.0)),
    ("DeleteNatGateway", Limit(10, 1.0)),
    ("DeleteNetworkInterface", Limit(100, 5.0)),
    ("DeleteSubnetCidrReservation", Limit(5, 1.0)),
    ("DeleteTags", Limit(100, 10.0)),
    ("DeleteVolume", Limit(100, 5.0)),
    ("DeleteVpcEndpoints", Limit(4, 0.3)),
    ("DescribeInstanceTopology", Limit(1, 1.0)),
    ("DescribeMovingAddresses", Limit(1, 1.0)),
    ("DescribeSecurityGroupReferences", Limit(20, 5.0)),
    ("DescribeStaleSecurityGroups", Limit(20, 5.0)),
    ("DisassociateIamInstanceProfile", Limit(100, 5.0)),
    ("DisassociateNatGatewayAddress", Limit(10, 1.0)),
    ("ModifyInstanceMetadataDefaults", Limit(2, 2.0)),
    ("ModifyInstanceMetadataOptions", Limit(100, 5.0)),
    ("ModifyNetworkInterfaceAttribute", Limit(100, 5.0)),
    ("ModifyVpcEndpoint", Limit(4, 0.3)),
    ("MoveAddressToVpc", Limit(1, 1.0)),
];

/// Actions that take a token for each instance too ("Resource token bucket sizes and refill rates").
const INSTANCES: &[(&str, Limit)] = &[
    ("RunInstances", Limit(1000, 2.0)),
    ("TerminateInstances", Limit(1000, 20.0)),
    ("StartInstances", Limit(1000, 2.0)),
    ("StopInstances", Limit(1000, 20.0)),
];

/// What a request takes from the buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cost<'a> {
    action: &'a str,
    /// Whether it has a filter or a page size.
    selects: bool,
    /// The instances that it launches or names.
    instances: u32,
}

impl<'a> Cost<'a> {
    fn of(request: &'a Request) -> Self {
        let count = || request.value("MaxCount").and_then(|count| count.parse().ok());
        let instances = match request.action.as_str() {
            "RunInstances" => count().unwrap_or(1),
            _ => u32::try_from(request.count("InstanceId.")).unwrap_or(u32::MAX),
        };
        Self {
            action: &request.action,
            selects: request.count("Filter.") > 0 || request.value("MaxResults").is_some(),
            instances,
        }
    }

    /// The bucket of the request itself.
    fn limit(&self) -> (Kind, Limit) {
        let listed = |list: &[&str]| list.contains(&self.action);
        if let Some((_, own)) = OWN.iter().find(|(action, _)| *action == self.action) {
            return (Kind::Requests, *own);
        }
        if listed(UNFILTERED) && !self.selects {
            return (Kind::Unfiltered, UNFILTERED_LIMIT);
        }
        let limit = match () {
            () if NON_MUTATING_NAMES.iter().any(|start| self.action.starts_with(start)) => NON_MUTATING,
            () if listed(RESOURCE_INTENSIVE) => RESOURCE_INTENSIVE_LIMIT,
            () => MUTATING,
        };
        (Kind::Requests, limit)
    }
}

/// What the tokens of a bucket stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Requests,
    Unfiltered,
    Instances,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Duration,
}

impl Bucket {
    /// The bucket at a later time. Tokens are gained all the time, not at each full second.
    fn refilled(self, Limit(capacity, rate): Limit, now: Duration) -> Self {
        let gained = now.saturating_sub(self.at).as_secs_f64() * rate;
        Self {
            tokens: (self.tokens + gained).min(capacity.into()),
            at: now,
        }
    }
}

/// The buckets of all actions that were called.
#[derive(Debug, Default)]
struct Buckets(HashMap<(String, Kind), Bucket>);

impl Buckets {
    /// Whether a request is let through: both of its buckets have what it takes, or nothing is taken.
    fn take(&mut self, cost: Cost<'_>, now: Duration) -> bool {
        let (kind, limit) = cost.limit();
        let of_instances = INSTANCES.iter().find(|(action, _)| *action == cost.action);
        let of_instances = of_instances.map(|(_, limit)| (Kind::Instances, *limit, f64::from(cost.instances)));
        let wanted: Vec<(Kind, Limit, f64)> = [(kind, limit, 1.0)].into_iter().chain(of_instances).collect();
        let mut after = Vec::with_capacity(wanted.len());
        for (kind, limit, tokens) in wanted {
            let key = (cost.action.to_owned(), kind);
            let full = Bucket {
                tokens: limit.0.into(),
                at: now,
            };
            let mut bucket = self.0.get(&key).copied().unwrap_or(full).refilled(limit, now);
            if bucket.tokens < tokens {
                return false;
            }
            bucket.tokens -= tokens;
            after.push((key, bucket));
        }
        self.0.extend(after);
        true
    }
}

/// The throttle of one account.
#[derive(Debug)]
pub(super) struct Throttling {
    began: Instant,
    buckets: Mutex<Buckets>,
}

impl Throttling {
    /// Full buckets.
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            buckets: Mutex::default(),
        }
    }

    /// Lets a request of an implemented action through, or refuses it.
    pub(super) fn admit(&self, request: &Request) -> Result<(), Ec2Error> {
        // Each bucket is put back whole.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.take(Cost::of(request), self.began.elapsed()) {
            return Ok(());
        }
        Err(Ec2Error::new("RequestLimitExceeded", "Request limit exceeded."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn request(form: &str) -> Request {
        Request::parse(b"", form.as_bytes()).expect(form)
    }

    /// How many requests are let through at a time, of at most 2000.
    fn passing(buckets: &mut Buckets, form: &str, now: Duration) -> usize {
        let request = request(form);
        (0..2000).take_while(|_| buckets.take(Cost::of(&request), now)).count()
    }

    #[test]
    fn each_class_of_actions_has_the_burst_and_the_rate_of_the_documentation() {
        for (form, burst, a_second) in [
            ("Action=DescribeRouteTables", 100, 20),
            ("Action=DescribeInstances", 50, 10),
            ("Action=DescribeInstances&InstanceId.1=i-1", 50, 10),
            ("Action=DescribeInstances&Filter.1.Name=vpc-id", 100, 20),
            ("Action=DescribeInstances&MaxResults=5", 100, 20),
            ("Action=ReplaceRoute", 50, 5),
            ("Action=AssociateAddress", 50, 5),
            ("Action=AuthorizeSecurityGroupIngress", 50, 5),
            ("Action=AssignPrivateIpAddresses", 100, 5),
            ("Action=CreateTags", 100, 10),
            ("Action=DescribeStaleSecurityGroups", 20, 5),
            ("Action=StopInstances&InstanceId.1=i-1&InstanceId.2=i-2", 50, 5),
        ] {
            let mut buckets = Buckets::default();
            assert_eq!(passing(&mut buckets, form, SECOND), burst, "{form} at once");
            assert_eq!(
                passing(&mut buckets, form, SECOND * 2),
                a_second,
                "{form} a second later"
            );
            assert_eq!(
                passing(&mut buckets, form, SECOND * 1000),
                burst,
                "{form} after a pause"
            );
        }
    }

    #[test]
    fn instances_are_counted_apart_from_requests() {
        let mut buckets = Buckets::default();
        let four = "Action=RunInstances&MinCount=1&MaxCount=250";
        assert_eq!(passing(&mut buckets, four, SECOND), 4, "1000 instances at once");
        assert_eq!(passing(&mut buckets, "Action=RunInstances&MaxCount=1", SECOND), 0);
        assert_eq!(passing(&mut buckets, "Action=RunInstances&MaxCount=1", SECOND * 2), 2);
        // What was refused has taken nothing: 50 requests less the four, and the two of this second.
        assert_eq!(
            passing(&mut buckets, "Action=TerminateInstances&InstanceId.1=i-1", SECOND),
            50
        );
        let (kind, _) = Cost::of(&request(four)).limit();
        let left = buckets.0[&("RunInstances".to_owned(), kind)].tokens;
        assert!((left - 48.0).abs() < 0.01, "{left}");
    }

    #[test]
    fn an_action_does_not_use_up_the_tokens_of_another() {
        let mut buckets = Buckets::default();
        assert_eq!(passing(&mut buckets, "Action=AssignPrivateIpAddresses", SECOND), 100);
        assert_eq!(passing(&mut buckets, "Action=UnassignPrivateIpAddresses", SECOND), 50);
        assert_eq!(passing(&mut buckets, "Action=DescribeInstances", SECOND), 50);
        let filtered = "Action=DescribeInstances&Filter.1.Name=vpc-id";
        assert_eq!(passing(&mut buckets, filtered, SECOND), 100, "the larger bucket");
    }
}
