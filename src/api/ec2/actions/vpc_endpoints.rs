//! The actions on gateway endpoints, their services and the prefix lists of these.

use std::time::SystemTime;

use serde::Deserialize;

use super::flow_logs::unsuccessful;
use super::ids::{reference, references};
use super::render::{ACCOUNT, tag_set};
use super::tags::Given;
use crate::api::ec2::action::{Action, Answer, Filter, TagSpecification, done};
use crate::api::ec2::describe::{Place, Selection};
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::request::printed;
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::endpoint::{CreateEndpoint, DeleteEndpoint, Endpoint, EndpointError, GatewayService, ModifyEndpoint};
use crate::model::ids::ResourceRef;
use crate::model::region::zones_of;
use crate::model::{ModelError, PrefixList};

/// The policy of an endpoint that none was given for (EC2 API, CreateVpcEndpoint: full access).
const FULL_ACCESS: &str =
    r#"{"Version":"2008-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}"#;

const PLACES: &[Place] = &[("vpc-endpoint-state", "state")];

/// The `VpcEndpoint` of EC2's answers.
fn endpoint(call: &Call<'_>, endpoint: &Endpoint) -> Node {
    let region = call.controller().region();
    let tables = endpoint.route_tables.iter().map(Node::text);
    let policy = endpoint.policy.as_deref().unwrap_or(FULL_ACCESS);
    Node::map([
        ("vpcEndpointId", Node::text(endpoint.id)),
        ("vpcEndpointType", Node::text("Gateway")),
        ("vpcId", Node::text(endpoint.vpc_id)),
        ("serviceName", Node::text(endpoint.service.full_name(&region))),
        // botocore's enum has `Available`; what EC2 sends is in lower case, and clients wait for that (firewall facts V1).
        ("state", Node::text("available")),
        ("policyDocument", Node::text(policy)),
        ("routeTableIdSet", Node::list(tables)),
        ("subnetIdSet", Node::List(Vec::new())),
        ("groupSet", Node::List(Vec::new())),
        ("privateDnsEnabled", Node::text(false)),
        ("requesterManaged", Node::text(false)),
        ("networkInterfaceIdSet", Node::List(Vec::new())),
        ("dnsEntrySet", Node::List(Vec::new())),
        (
            "creationTimestamp",
            Node::text(humantime::format_rfc3339_millis(endpoint.created)),
        ),
        ("tagSet", tag_set(endpoint.name.as_deref(), &endpoint.tags)),
        ("ownerId", Node::text(ACCOUNT)),
        ("serviceRegion", Node::text(region)),
    ])
}

/// Makes a gateway endpoint.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CreateVpcEndpoint {
    vpc_endpoint_type: Option<String>,
    vpc_id: String,
    service_name: Option<String>,
    policy_document: Option<String>,
    #[serde(default)]
    route_table_id: Vec<String>,
    private_dns_enabled: Option<bool>,
    #[serde(default)]
    tag_specification: Vec<TagSpecification>,
    client_token: Option<String>,
}

impl Action for CreateVpcEndpoint {
    const NAME: &'static str = "CreateVpcEndpoint";
    const HELP: &'static str = "Makes a gateway endpoint of S3 or DynamoDB";

    fn run(self, call: &Call<'_>) -> Answer {
        // EC2 API, CreateVpcEndpoint: Gateway is the default.
        match self.vpc_endpoint_type.as_deref() {
            None | Some("Gateway") => {}
            Some(other) => {
                let message = format!(
                    "Endpoints of the type {} are not implemented: Gateway alone is",
                    printed(other)
                );
                return Err(Ec2Error::new("UnsupportedOperation", message));
            }
        }
        if self.private_dns_enabled == Some(true) {
            return Err(Ec2Error::new(
                "InvalidParameter",
                "Private DNS is only supported for Interface VPC Endpoints.",
            ));
        }
        let service = self.service_name.ok_or_else(|| Ec2Error::missing("ServiceName"))?;
        let region = call.controller().region();
        // The last word alone is a name of REST's.
        if !service.starts_with("com.amazonaws.") {
            return Err(ModelError::from(EndpointError::service(&service, &region)).into());
        }
        let given = Given::of(&self.tag_specification, "vpc-endpoint")?;
        let made = call.execute(CreateEndpoint {
            name: given.free_name(|name| call.controller().endpoint(&ResourceRef::new(name)).is_ok()),
            vpc: reference(&self.vpc_id)?,
            service,
            route_tables: references(&self.route_table_id)?,
            policy: self.policy_document,
            at: SystemTime::now(),
            tags: given.tags,
        })?;
        Ok(vec![
            ("vpcEndpoint", endpoint(call, &made)),
            ("clientToken", Node::maybe(self.client_token)),
        ])
    }
}

/// Changes the route tables or the policy of a gateway endpoint.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ModifyVpcEndpoint {
    vpc_endpoint_id: String,
    reset_policy: Option<bool>,
    policy_document: Option<String>,
    #[serde(default)]
    add_route_table_id: Vec<String>,
    #[serde(default)]
    remove_route_table_id: Vec<String>,
}

impl Action for ModifyVpcEndpoint {
    const NAME: &'static str = "ModifyVpcEndpoint";
    const HELP: &'static str = "Changes the route tables or the policy of a gateway endpoint";

    fn run(self, call: &Call<'_>) -> Answer {
        let policy = match (self.reset_policy, self.policy_document) {
            (Some(true), Some(_)) => {
                return Err(Ec2Error::combination(
                    "The parameter PolicyDocument cannot be used with the parameter ResetPolicy",
                ));
            }
            (Some(true), None) => Some(None),
            (_, policy) => policy.map(Some),
        };
        call.execute(ModifyEndpoint {
            policy,
            add: references(&self.add_route_table_id)?,
            remove: references(&self.remove_route_table_id)?,
            ..ModifyEndpoint::new(reference(&self.vpc_endpoint_id)?)
        })?;
        done()
    }
}

/// Deletes gateway endpoints.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DeleteVpcEndpoints {
    vpc_endpoint_id: Vec<String>,
}

impl Action for DeleteVpcEndpoints {
    const NAME: &'static str = "DeleteVpcEndpoints";
    const HELP: &'static str = "Deletes gateway endpoints, and their routes";

    fn run(self, call: &Call<'_>) -> Answer {
        let failed = self.vpc_endpoint_id.iter().filter_map(|id| {
            let deleted = reference(id).and_then(|endpoint| call.execute(DeleteEndpoint(endpoint)));
            deleted.err().map(|error| unsuccessful(id, &error))
        });
        Ok(vec![("unsuccessful", Node::list(failed))])
    }
}

/// Lists gateway endpoints.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeVpcEndpoints {
    #[serde(default)]
    vpc_endpoint_id: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for DescribeVpcEndpoints {
    const NAME: &'static str = "DescribeVpcEndpoints";
    const HELP: &'static str = "Lists gateway endpoints";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        for given in &self.vpc_endpoint_id {
            call.controller().endpoint(&reference(given)?)?;
        }
        let selection = Selection {
            ids: Some(("VpcEndpointIds", &self.vpc_endpoint_id)),
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
        };
        let all = call.controller().endpoints();
        let page = selection.of(call, all.iter().map(|one| endpoint(call, one)), "vpcEndpointId", PLACES)?;
        Ok(vec![
            ("vpcEndpointSet", Node::List(page.items)),
            ("nextToken", page.next),
        ])
    }
}

/// The `ServiceDetail` of a service.
fn detail(call: &Call<'_>, service: GatewayService) -> Node {
    let region = call.controller().region();
    Node::map([
        ("serviceName", Node::text(service.full_name(&region))),
        (
            "serviceType",
            Node::list([Node::map([("serviceType", Node::text("Gateway"))])]),
        ),
        ("serviceRegion", Node::text(&region)),
        ("availabilityZoneSet", Node::texts(zones_of(&region))),
        ("owner", Node::text("amazon")),
        (
            "baseEndpointDnsNameSet",
            Node::list([Node::text(format!("{}.{region}.amazonaws.com", service.word()))]),
        ),
        ("vpcEndpointPolicySupported", Node::text(true)),
        ("acceptanceRequired", Node::text(false)),
        ("managesVpcEndpoints", Node::text(false)),
        ("tagSet", Node::List(Vec::new())),
        ("supportedIpAddressTypeSet", Node::list([Node::text("ipv4")])),
    ])
}

/// Lists the services with gateway endpoints.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeVpcEndpointServices {
    #[serde(default)]
    service_name: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

const SERVICE_PLACES: &[Place] = &[
    ("service-type", "serviceType.serviceType"),
    ("supported-ip-address-types", "supportedIpAddressTypeSet"),
];

impl Action for DescribeVpcEndpointServices {
    const NAME: &'static str = "DescribeVpcEndpointServices";
    const HELP: &'static str = "Lists the services with gateway endpoints";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        let region = call.controller().region();
        let known = |name: &String| GatewayService::ALL.iter().any(|one| one.full_name(&region) == *name);
        if let Some(unknown) = self.service_name.iter().find(|name| !known(name)) {
            return Err(ModelError::from(EndpointError::service(unknown, &region)).into());
        }
        let selection = Selection {
            ids: Some(("ServiceNames", &self.service_name)),
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
        };
        let all = GatewayService::ALL.map(|service| detail(call, service));
        let page = selection.of(call, all, "serviceName", SERVICE_PLACES)?;
        let names = page.items.iter().filter_map(|item| item.get("serviceName").cloned());
        Ok(vec![
            ("serviceNameSet", Node::list(names.collect::<Vec<_>>())),
            ("serviceDetailSet", Node::List(page.items)),
            ("nextToken", page.next),
        ])
    }
}

/// Lists the prefix lists of the services with gateway endpoints.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribePrefixLists {
    #[serde(default)]
    prefix_list_id: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

fn addresses(list: &PrefixList) -> Node {
    Node::map([
        ("prefixListId", Node::text(list.id)),
        ("prefixListName", Node::text(&list.list_name)),
        ("cidrSet", Node::list(list.blocks().map(Node::text))),
    ])
}

impl Action for DescribePrefixLists {
    const NAME: &'static str = "DescribePrefixLists";
    const HELP: &'static str = "Lists the prefix lists of the services with gateway endpoints";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        for given in &self.prefix_list_id {
            call.controller().prefix_list(&reference(given)?)?;
        }
        let selection = Selection {
            ids: Some(("PrefixListIds", &self.prefix_list_id)),
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
        };
        let all = call.controller().managed_prefix_lists();
        let page = selection.of(call, all.iter().map(addresses), "prefixListId", &[])?;
        Ok(vec![
            ("prefixListSet", Node::List(page.items)),
            ("nextToken", page.next),
        ])
    }
}
