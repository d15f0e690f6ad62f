//! Lists why a gateway endpoint is refused, with the AWS code, the field and the remedy of each.

use super::GatewayService;
use crate::model::error::RefusalKind;
use crate::model::ids::{EndpointId, RouteTableId, VpcId};

/// Why it is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// A service that no gateway endpoint reaches.
    #[error("The Vpc Endpoint Service '{service}' does not exist")]
    Service {
        /// As given.
        service: String,
        /// What there is.
        known: String,
    },
    /// A route table of another VPC.
    #[error("route table {table} and endpoint of VPC {vpc} belong to different networks")]
    OtherVpc {
        /// The table.
        table: RouteTableId,
        /// The VPC of the endpoint.
        vpc: VpcId,
    },
    /// A table that has a route to the service already.
    #[error("route table {table} already has a route with destination-prefix-list-id {list}")]
    RouteExists {
        /// The table.
        table: RouteTableId,
        /// The endpoint that its route has as the target.
        endpoint: EndpointId,
        /// The prefix list of the service.
        list: crate::model::ids::PrefixListId,
    },
    /// A table that does not route to the endpoint.
    #[error("route table {table} is not associated with endpoint {endpoint}")]
    NotAssociated {
        /// The table.
        table: RouteTableId,
        /// The endpoint.
        endpoint: EndpointId,
    },
    /// A table that an internet gateway is associated with.
    #[error("route table {table} is associated with an internet gateway")]
    OfGateway {
        /// The table.
        table: RouteTableId,
    },
    /// More endpoints than a region has.
    #[error("The maximum number of gateway endpoints has been reached.")]
    Limit,
}

impl EndpointError {
    /// The refusal of a service name.
    pub fn service(service: &str, region: &str) -> Self {
        let known = GatewayService::ALL.map(|known| known.full_name(region));
        Self::Service {
            service: service.to_owned(),
            known: known.join(" or "),
        }
    }

    /// The EC2 API's error code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Service { .. } => "InvalidServiceName",
            Self::OtherVpc { .. } | Self::NotAssociated { .. } | Self::OfGateway { .. } => "InvalidParameter",
            Self::RouteExists { .. } => "RouteAlreadyExists",
            Self::Limit => "VpcEndpointLimitExceeded",
        }
    }

    /// The field of the request that is at fault.
    pub const fn field(&self) -> Option<&'static str> {
        match self {
            Self::Service { .. } => Some("service"),
            Self::OtherVpc { .. } | Self::RouteExists { .. } | Self::NotAssociated { .. } | Self::OfGateway { .. } => {
                Some("route_tables")
            }
            Self::Limit => None,
        }
    }

    /// What to do about it, as a sentence.
    pub fn remedy(&self) -> String {
        match self {
            Self::Service { known, .. } => format!("Give {known}: other services have no gateway endpoint."),
            Self::OtherVpc { .. } => "Name route tables of the endpoint's VPC.".to_owned(),
            Self::RouteExists { endpoint, .. } => format!("Take the table away from {endpoint} first."),
            Self::OfGateway { .. } => "Name the route tables of subnets.".to_owned(),
            Self::NotAssociated { .. } => "Show the endpoint to see its route tables.".to_owned(),
            Self::Limit => "Delete an endpoint first, or raise the limit in the server's configuration.".to_owned(),
        }
    }

    /// What sort of refusal it is.
    pub const fn kind(&self) -> RefusalKind {
        match self {
            Self::Service { .. } | Self::OtherVpc { .. } | Self::OfGateway { .. } => RefusalKind::Invalid,
            Self::NotAssociated { .. } => RefusalKind::NotFound,
            Self::RouteExists { .. } | Self::Limit => RefusalKind::Conflict,
        }
    }
}
