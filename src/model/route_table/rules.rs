//! Creates, changes and deletes route tables and their routes. A route within the VPC's own ranges may have another
//! target than `local` only where AWS allows it: for a whole range or a whole subnet, and with an interface as its
//! target.

use ipnet::IpNet;

use super::{
    AssociateRouteTable, Association, CreateRouteTable, DeleteRouteTable, DisassociateRouteTable, EditRoute,
    ModifyRouteTable, Route, RouteChange, RouteEdit, RouteEntry, RouteOrigin, RouteState, RouteTable, RouteTableRecord,
    RouteTarget, TargetRef,
};
use crate::model::command::{Command, Edit};
use crate::model::error::ModelError;
use crate::model::ids::{InterfaceId, ResourceRef, RouteTableId, SubnetId, VpcId};
use crate::model::limits::Limits;
use crate::model::naming::Tags;
use crate::model::network::{Network, fresh_id, not_found};
use crate::model::vpc::Vpc;
use crate::model::{CidrError, RouteTableError};

/// Ranges that no route may be inside (VPC guide, "Route table concepts"). A larger one is allowed; packets to these
/// ranges do not follow it.
const FORBIDDEN: [&str; 2] = ["169.254.168.0/22", "fd00:ec2::/32"];

fn forbidden(destination: IpNet) -> Option<IpNet> {
    let ranges = FORBIDDEN.iter().filter_map(|text| text.parse::<IpNet>().ok());
    ranges.into_iter().find(|range| range.contains(&destination))
}

impl RouteEntry {
    /// The initial route for each range of the VPC.
    const LOCAL: Self = Self {
        target: RouteTarget::Local,
        origin: RouteOrigin::CreateRouteTable,
    };
}

impl RouteTableRecord {
    /// A table with the routes that every table of the VPC has.
    pub(in crate::model) fn with_local_routes(id: RouteTableId, name: Option<String>, vpc: &Vpc, tags: Tags) -> Self {
        Self {
            id,
            name,
            vpc_id: vpc.id,
            routes: vpc
                .ranges()
                .into_iter()
                .map(|range| (range, RouteEntry::LOCAL))
                .collect(),
            tags,
        }
    }
}

impl Command for CreateRouteTable {
    type Outcome = RouteTable;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<RouteTable, ModelError> {
        let vpc = edit.vpc(&self.vpc)?;
        let vpc_id = vpc.id;
        let count = edit
            .route_tables
            .values()
            .filter(|table| table.vpc_id == vpc_id)
            .count();
        if Limits::reached(edit.limits.route_tables_per_vpc, count) {
            let text = "The maximum number of route tables has been reached.".into();
            return Err(ModelError::Limit {
                code: "RouteTableLimitExceeded",
                text,
            });
        }
        edit.route_table_names.check(self.name.as_deref(), None)?;
        let id = fresh_id(edit.rng, |id| edit.network.route_tables.contains_key(&id));
        let record = RouteTableRecord::with_local_routes(id, self.name, edit.vpc(&vpc_id.into())?, self.tags);
        edit.create(record);
        edit.route_table(&id.into())
    }
}

impl Command for ModifyRouteTable {
    type Outcome = RouteTable;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<RouteTable, ModelError> {
        let before = edit.route_table_record(&self.table)?.clone();
        let (id, vpc) = (before.id, edit.vpc(&before.vpc_id.into())?.clone());
        if self.main == Some(false) && vpc.main_route_table_id == id {
            return Err(ModelError::RouteTable(RouteTableError::Main { table: id }));
        }
        if let Some(name) = &self.name {
            edit.route_table_names.check(name.as_deref(), Some(id))?;
        }
        let after = RouteTableRecord {
            name: self.name.unwrap_or_else(|| before.name.clone()),
            tags: self.tags.unwrap_or_else(|| before.tags.clone()),
            ..before.clone()
        };
        edit.replace(before, after);
        if self.main == Some(true) {
            let after = Vpc {
                main_route_table_id: id,
                ..vpc.clone()
            };
            edit.replace(vpc, after);
        }
        edit.route_table(&id.into())
    }
}

impl Command for DeleteRouteTable {
    type Outcome = RouteTable;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<RouteTable, ModelError> {
        let table = edit.route_table(&self.0)?;
        let subnets = table.subnet_ids.iter().map(ToString::to_string);
        let gateways = table.gateway_ids.iter().map(ToString::to_string);
        let subnets: Vec<String> = subnets.chain(gateways).collect();
        let dependents = match (table.main, subnets.is_empty()) {
            (true, _) => "it is the main route table of its VPC".to_owned(),
            (false, false) => subnets.join(", "),
            (false, true) => String::new(),
        };
        if !dependents.is_empty() {
            return Err(ModelError::Dependents {
                kind: "routeTable",
                id: table.id.to_string(),
                dependents,
            });
        }
        edit.forget_endpoint_routes(table.id);
        let record = edit.route_table_record(&self.0)?.clone();
        edit.delete(record);
        Ok(table)
    }
}

impl Command for AssociateRouteTable {
    type Outcome = RouteTable;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<RouteTable, ModelError> {
        let record = edit.route_table_record(&self.table)?;
        let (table, vpc) = (record.id, record.vpc_id);
        let subnet = edit.subnet(&self.subnet)?;
        let subnet_id = subnet.id;
        if subnet.vpc_id != vpc {
            return Err(ModelError::RouteTable(RouteTableError::DifferentNetworks {
                table,
                subnet: subnet_id,
            }));
        }
        let before = edit.association(subnet_id);
        if !self.replacing && before.is_some_and(|other| other != table) {
            return Err(RouteTableError::AlreadyAssociated { table }.into());
        }
        edit.make(Association {
            subnet: subnet_id,
            before,
            after: Some(table),
        });
        edit.route_table(&table.into())
    }
}

impl Command for DisassociateRouteTable {
    type Outcome = RouteTable;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<RouteTable, ModelError> {
        let table = edit.route_table_id(&self.table)?;
        let subnet = edit.subnet(&self.subnet)?.id;
        if edit.association(subnet) != Some(table) {
            return Err(ModelError::RouteTable(RouteTableError::NotAssociated { subnet, table }));
        }
        edit.make(Association {
            subnet,
            before: Some(table),
            after: None,
        });
        edit.route_table(&table.into())
    }
}

impl Command for EditRoute {
    type Outcome = RouteTable;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<RouteTable, ModelError> {
        let table = edit.route_table_record(&self.table)?;
        let id = table.id;
        let change = match &self.edit {
            RouteEdit::Create(destination, target) => edit.put_route(table, destination.trunc(), target, Some(false)),
            RouteEdit::Replace(destination, target) => edit.put_route(table, destination.trunc(), target, Some(true)),
            RouteEdit::Put(destination, target) => edit.put_route(table, destination.trunc(), target, None),
            RouteEdit::Delete(destination) => delete_route(table, destination.trunc()),
        }?;
        edit.make(change);
        edit.route_table(&id.into())
    }
}

impl Edit<'_> {
    /// Updates the local routes of all tables of a VPC after a change of its ranges. Routes with another target keep
    /// it.
    pub(in crate::model) fn renew_local_routes(&mut self, vpc: &Vpc) {
        let ranges = vpc.ranges();
        let mut changes = Vec::new();
        for table in self.route_tables.values().filter(|table| table.vpc_id == vpc.id) {
            let change = |destination, before, after| RouteChange {
                table: table.id,
                destination,
                before,
                after,
            };
            let gone = table
                .routes
                .iter()
                .filter(|(net, entry)| entry.origin == RouteOrigin::CreateRouteTable && !ranges.contains(net));
            changes.extend(gone.map(|(net, entry)| change(*net, Some(*entry), None)));
            let new = ranges.iter().filter(|range| !table.routes.contains_key(*range));
            changes.extend(new.map(|range| change(*range, None, Some(RouteEntry::LOCAL))));
        }
        for change in changes {
            self.make(change);
        }
    }
}

impl Network {
    /// The identifier behind a reference to a route table that exists.
    pub fn route_table_id(&self, reference: &ResourceRef<RouteTableId>) -> Result<RouteTableId, ModelError> {
        let id = self.route_table_names.resolve(reference)?;
        if self.route_tables.contains_key(&id) {
            Ok(id)
        } else {
            Err(not_found(reference))
        }
    }

    pub(super) fn route_table_record(
        &self,
        reference: &ResourceRef<RouteTableId>,
    ) -> Result<&RouteTableRecord, ModelError> {
        let id = self.route_table_names.resolve(reference)?;
        self.route_tables.get(&id).ok_or_else(|| not_found(reference))
    }

    /// The table that a subnet is explicitly associated with.
    fn association(&self, subnet: SubnetId) -> Option<RouteTableId> {
        self.subnets.get(&subnet)?.route_table
    }

    /// The route table of a reference, with the present states of its routes.
    pub fn route_table(&self, reference: &ResourceRef<RouteTableId>) -> Result<RouteTable, ModelError> {
        let table = self.route_table_record(reference)?;
        let id = table.id;
        let main = self
            .vpcs
            .get(&table.vpc_id)
            .is_some_and(|vpc| vpc.vpc.main_route_table_id == id);
        let subnets = self.subnets.values().filter(|state| state.route_table == Some(id));
        let mut routes: Vec<Route> = table
            .routes
            .iter()
            .map(|(destination, entry)| Route {
                destination: *destination,
                target: entry.target,
                state: self.route_state(table.vpc_id, entry.target),
                origin: entry.origin,
            })
            .collect();
        // In AWS's order: routes created with the table first.
        routes.sort_by_key(|route| (route.origin == RouteOrigin::CreateRoute, route.destination));
        Ok(RouteTable {
            id,
            name: table.name.clone(),
            vpc_id: table.vpc_id,
            main,
            subnet_ids: subnets.map(|state| state.subnet.id).collect(),
            routes,
            gateway_ids: self.gateways_of_table(id).map(|gateway| gateway.id).collect(),
            endpoint_routes: self.endpoint_routes(id).collect(),
            tags: table.tags.clone(),
        })
    }

    /// EC2 API, Route: `blackhole` says that the route's target is not available.
    fn route_state(&self, vpc: VpcId, target: RouteTarget) -> RouteState {
        match target {
            RouteTarget::InternetGateway(id) if self.is_gateway_of(id, vpc) => RouteState::Active,
            RouteTarget::NatGateway(id) if self.is_nat_of(id, vpc) => RouteState::Active,
            RouteTarget::EgressOnly(id) if self.egress_only_of(vpc) == Some(id) => RouteState::Active,
            RouteTarget::Peering(id) if self.active_peer(id, vpc).is_some() => RouteState::Active,
            RouteTarget::Local => RouteState::Active,
            RouteTarget::Interface(id) if self.is_attached(id) => RouteState::Active,
            RouteTarget::Interface(_)
            | RouteTarget::InternetGateway(_)
            | RouteTarget::NatGateway(_)
            | RouteTarget::EgressOnly(_)
            | RouteTarget::Peering(_)
            | RouteTarget::Blackhole => RouteState::Blackhole,
        }
    }

    /// Whether an interface exists and is attached.
    pub fn is_attached(&self, interface: InterfaceId) -> bool {
        let state = self.interfaces.get(&interface);
        state.is_some_and(|state| state.record.attachment.is_some())
    }

    /// All route tables, by identifier.
    pub fn route_tables(&self) -> impl Iterator<Item = RouteTable> + '_ {
        self.route_tables
            .keys()
            .filter_map(|id| self.route_table(&ResourceRef::Id(*id)).ok())
    }

    /// The table that applies to a subnet.
    pub fn table_of(&self, subnet: SubnetId) -> Option<RouteTableId> {
        let state = self.subnets.get(&subnet)?;
        let main = || {
            self.vpcs
                .get(&state.subnet.vpc_id)
                .map(|vpc| vpc.vpc.main_route_table_id)
        };
        state.route_table.or_else(main)
    }

    /// Destinations and targets of a table.
    pub fn routes(&self, id: RouteTableId) -> impl Iterator<Item = (IpNet, RouteTarget)> + '_ {
        let table = self.route_tables.get(&id);
        table
            .into_iter()
            .flat_map(|table| table.routes.iter().map(|(net, entry)| (*net, entry.target)))
    }

    /// The tables with a route to a target.
    pub fn tables_towards(&self, wanted: RouteTarget) -> Vec<RouteTableId> {
        let towards = |table: &RouteTableRecord| {
            let mut targets = table.routes.values().map(|entry| entry.target);
            targets.any(|target| target == wanted)
        };
        let found = self.route_tables.iter().filter(|(_, table)| towards(table));
        found.map(|(id, _)| *id).collect()
    }

    /// `there` says whether the route must exist.
    fn put_route(
        &self,
        table: &RouteTableRecord,
        destination: IpNet,
        target: &TargetRef,
        there: Option<bool>,
    ) -> Result<RouteChange, ModelError> {
        let (id, vpc) = (table.id, table.vpc_id);
        let wrong =
            |text: String, field, remedy| Err(ModelError::RouteTable(RouteTableError::Route { text, field, remedy }));
        let existing = table.routes.get(&destination).copied();
        match (existing, there) {
            (Some(_), Some(false)) => return Err(ModelError::RouteTable(RouteTableError::RouteExists { destination })),
            (None, Some(true)) => {
                let text = format!(
                    "There is no route defined for '{destination}' in the route table. Use CreateRoute instead."
                );
                return wrong(text, "destination", "Create the route instead.");
            }
            _ => {}
        }
        if let Some(range) = forbidden(destination) {
            let text = format!("The destination {destination} lies in {range}, which serves the VPC itself");
            return wrong(text, "destination", "Choose a destination outside of it.");
        }
        let target = match target {
            TargetRef::Local => RouteTarget::Local,
            TargetRef::Blackhole => RouteTarget::Blackhole,
            TargetRef::InternetGateway(reference) => self.gateway_target(table, reference)?,
            TargetRef::NatGateway(reference) => self.nat_target(table, reference)?,
            TargetRef::EgressOnly(reference) => self.egress_only_target(table, destination, reference)?,
            TargetRef::Peering(reference) => self.peering_target(table, reference)?,
            TargetRef::Interface(ResourceRef::Name(name, _)) if self.names_gateway(name) => {
                self.gateway_target(table, &ResourceRef::new(name))?
            }
            TargetRef::Interface(ResourceRef::Name(name, _)) if self.names_nat(name) => {
                self.nat_target(table, &ResourceRef::new(name))?
            }
            TargetRef::Interface(ResourceRef::Name(name, _)) if self.names(&self.egress_only_names, name) => {
                self.egress_only_target(table, destination, &ResourceRef::new(name))?
            }
            TargetRef::Interface(ResourceRef::Name(name, _)) if self.names(&self.peering_names, name) => {
                self.peering_target(table, &ResourceRef::new(name))?
            }
            TargetRef::Interface(reference) => {
                let interface = self.interface_id(reference)?;
                if self.state(interface).record.vpc_id != vpc {
                    let text =
                        format!("route table {id} and network interface {interface} belong to different networks");
                    return wrong(text, "target", "Name an interface of the route table's VPC.");
                }
                RouteTarget::Interface(interface)
            }
        };
        if self.gateways_of_table(id).next().is_some() {
            self.check_inbound_route(table, destination, target)?;
        }
        let ranges = self.vpcs.get(&vpc).map(|state| state.vpc.ranges()).unwrap_or_default();
        let is_range = ranges.contains(&destination);
        let within = ranges.iter().any(|range| range.contains(&destination));
        if target == RouteTarget::Local && !is_range {
            let text =
                format!("The destination {destination} is no CIDR block of the VPC, so its route cannot be local");
            return wrong(text, "target", "Name an interface.");
        }
        if within {
            let leads_to_interface = matches!(target, RouteTarget::Interface(_));
            let is_subnet = self.subnets().filter(|subnet| subnet.vpc_id == vpc).any(|subnet| {
                subnet.cidr_block.map(IpNet::V4) == Some(destination)
                    || subnet.ipv6_cidr_block.map(IpNet::V6) == Some(destination)
            });
            // Tools parse the text.
            let text = || {
                format!(
                    "The destination CIDR block {destination} is equal to or more specific than one of this VPC's CIDR \
                     blocks. This route can target only an interface or an instance."
                )
            };
            if !leads_to_interface && target != RouteTarget::Local {
                return wrong(text(), "target", "Name an interface.");
            }
            if !is_range && !is_subnet {
                let remedy =
                    "Within the VPC a route covers a whole CIDR block of it, or the whole block of one subnet.";
                return wrong(text(), "destination", remedy);
            }
        }
        let ipv6 = matches!(destination, IpNet::V6(_));
        let count = table
            .routes
            .iter()
            .filter(|(net, entry)| matches!(net, IpNet::V6(_)) == ipv6 && entry.origin == RouteOrigin::CreateRoute)
            .count();
        if existing.is_none() && Limits::reached(self.limits.routes_per_table, count) {
            let text = format!("The maximum number of routes has been reached in {id}.");
            return Err(ModelError::Limit {
                code: "RouteLimitExceeded",
                text,
            });
        }
        let origin = existing.map_or(RouteOrigin::CreateRoute, |entry| entry.origin);
        Ok(RouteChange {
            table: id,
            destination,
            before: existing,
            after: Some(RouteEntry { target, origin }),
        })
    }

    /// Refuses a new range that would take over what a route leads elsewhere (VPC guide, "Add an IPv4 CIDR block": the
    /// same as or larger than the destination of a route is not allowed).
    pub(in crate::model) fn check_new_ranges(&self, before: &Vpc, after: &Vpc) -> Result<(), ModelError> {
        let old = before.ranges();
        let tables = || self.route_tables.iter().filter(|(_, table)| table.vpc_id == after.id);
        for range in after.ranges().iter().filter(|range| !old.contains(range)) {
            let destinations = tables().flat_map(|(id, table)| table.routes.keys().map(move |net| (*id, *net)));
            if let Some((id, net)) = destinations.into_iter().find(|(_, net)| range.contains(net)) {
                let field = if range.addr().is_ipv4() {
                    "cidr_blocks"
                } else {
                    "ipv6_cidr_blocks"
                };
                return Err(ModelError::Cidr(CidrError::Conflict {
                    net: *range,
                    with: format!("the route to {net} in {id}"),
                    code: "InvalidVpc.Conflict",
                    field,
                }));
            }
        }
        Ok(())
    }
}

fn delete_route(table: &RouteTableRecord, destination: IpNet) -> Result<RouteChange, ModelError> {
    match table.routes.get(&destination) {
        None => Err(ModelError::RouteTable(RouteTableError::NoRoute {
            table: table.id,
            destination,
        })),
        Some(entry) if entry.origin == RouteOrigin::CreateRouteTable => {
            Err(ModelError::RouteTable(RouteTableError::Route {
                text: format!("cannot remove local route {destination} in route table {}", table.id),
                field: "destination",
                remedy: "Replace its target instead.",
            }))
        }
        Some(entry) => Ok(RouteChange {
            table: table.id,
            destination,
            before: Some(*entry),
            after: None,
        }),
    }
}
