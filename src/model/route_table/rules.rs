//! Making, changing and deleting route tables and their routes. A route within the VPC's own ranges leads elsewhere only
//! where AWS lets it: for a whole range, or for a whole subnet, and then to an interface.

use ipnet::IpNet;
use rand::Rng;

use crate::model::error::ModelError;
use crate::model::ids::{InterfaceId, ResourceRef, RouteTableId, SubnetId, VpcId};
use crate::model::limits::Limits;
use crate::model::network::{Network, RouteEntry, RouteTableState, fresh_id, not_found};
use crate::model::route_table::{
    CreateRouteTable, ModifyRouteTable, Route, RouteEdit, RouteOrigin, RouteState, RouteTable, RouteTarget, TargetRef,
};

/// Ranges that no route may lie in (VPC guide, "Route table concepts"). One around them may be there; what it leads to
/// them is not forwarded.
const FORBIDDEN: [&str; 2] = ["169.254.168.0/22", "fd00:ec2::/32"];

fn forbidden(destination: IpNet) -> Option<IpNet> {
    let ranges = FORBIDDEN.iter().filter_map(|text| text.parse::<IpNet>().ok());
    ranges.into_iter().find(|range| range.contains(&destination))
}

impl Network {
    /// Makes the main route table of a VPC that is about to be made.
    pub(in crate::model) fn new_main_table(&mut self, vpc: VpcId, ranges: &[IpNet], rng: &mut dyn Rng) -> RouteTableId {
        let id = fresh_id(rng, |id| self.route_tables.contains_key(&id));
        let state = RouteTableState::new(None, vpc, ranges, Default::default());
        self.route_tables.insert(id, state);
        id
    }

    /// Makes a route table with the local routes of its VPC.
    pub fn create_route_table(&mut self, spec: CreateRouteTable, rng: &mut dyn Rng) -> Result<RouteTable, ModelError> {
        let vpc = self.vpc(&spec.vpc)?;
        let (vpc_id, ranges) = (vpc.id, vpc.ranges());
        let count = self.route_tables.values().filter(|table| table.vpc == vpc_id).count();
        if Limits::reached(self.limits.route_tables_per_vpc, count) {
            let text = "The maximum number of route tables has been reached.".into();
            return Err(ModelError::Limit {
                code: "RouteTableLimitExceeded",
                text,
            });
        }
        self.route_table_names.check(spec.name.as_deref(), None)?;
        let id = fresh_id(rng, |id| self.route_tables.contains_key(&id));
        self.route_table_names.rename(id, None, spec.name.as_deref());
        let state = RouteTableState::new(spec.name, vpc_id, &ranges, spec.tags);
        self.route_tables.insert(id, state);
        self.route_table(&id.into())
    }

    /// The identifier behind a reference to a route table that exists.
    pub fn route_table_id(&self, reference: &ResourceRef<RouteTableId>) -> Result<RouteTableId, ModelError> {
        let id = self.route_table_names.resolve(reference)?;
        if self.route_tables.contains_key(&id) {
            Ok(id)
        } else {
            Err(not_found(reference))
        }
    }

    /// The route table behind a reference, with the states that its routes have now.
    pub fn route_table(&self, reference: &ResourceRef<RouteTableId>) -> Result<RouteTable, ModelError> {
        let id = self.route_table_id(reference)?;
        let table = self.route_tables.get(&id).ok_or_else(|| not_found(reference))?;
        let main = self
            .vpcs
            .get(&table.vpc)
            .is_some_and(|vpc| vpc.vpc.main_route_table_id == id);
        let subnets = self.subnets.values().filter(|state| state.route_table == Some(id));
        let mut routes: Vec<Route> = table
            .routes
            .iter()
            .map(|(destination, entry)| Route {
                destination: *destination,
                target: entry.target,
                state: self.route_state(entry.target),
                origin: entry.origin,
            })
            .collect();
        // As AWS shows them: what came with the table first.
        routes.sort_by_key(|route| (route.origin == RouteOrigin::CreateRoute, route.destination));
        Ok(RouteTable {
            id,
            name: table.name.clone(),
            vpc_id: table.vpc,
            main,
            subnet_ids: subnets.map(|state| state.subnet.id).collect(),
            routes,
            tags: table.tags.clone(),
        })
    }

    /// EC2 API, Route: `blackhole` says that the route's target is not available.
    fn route_state(&self, target: RouteTarget) -> RouteState {
        match target {
            RouteTarget::Local => RouteState::Active,
            RouteTarget::Interface(id) if self.port(id).is_some() => RouteState::Active,
            RouteTarget::Interface(_) | RouteTarget::Blackhole => RouteState::Blackhole,
        }
    }

    /// All route tables, by identifier.
    pub fn route_tables(&self) -> impl Iterator<Item = RouteTable> + '_ {
        self.route_tables
            .keys()
            .filter_map(|id| self.route_table(&ResourceRef::Id(*id)).ok())
    }

    /// The table that leads the packets of a subnet.
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

    /// The tables with a route to an interface.
    pub fn tables_towards(&self, interface: InterfaceId) -> Vec<RouteTableId> {
        let towards = |table: &RouteTableState| {
            let mut targets = table.routes.values().map(|entry| entry.target);
            targets.any(|target| target == RouteTarget::Interface(interface))
        };
        let found = self.route_tables.iter().filter(|(_, table)| towards(table));
        found.map(|(id, _)| *id).collect()
    }

    /// Changes a route table's name or tags, or makes it the main one.
    pub fn modify_route_table(
        &mut self,
        reference: &ResourceRef<RouteTableId>,
        spec: ModifyRouteTable,
    ) -> Result<RouteTable, ModelError> {
        let id = self.route_table_id(reference)?;
        let table = self.route_tables.get(&id).ok_or_else(|| not_found(reference))?;
        let (vpc, old) = (table.vpc, table.name.clone());
        let is_main = self.vpcs.get(&vpc).is_some_and(|vpc| vpc.vpc.main_route_table_id == id);
        if spec.main == Some(false) && is_main {
            return Err(ModelError::MainRouteTable { table: id });
        }
        if let Some(name) = &spec.name {
            self.route_table_names.check(name.as_deref(), Some(id))?;
        }
        if let Some(table) = self.route_tables.get_mut(&id) {
            if let Some(name) = spec.name {
                self.route_table_names.rename(id, old.as_deref(), name.as_deref());
                table.name = name;
            }
            if let Some(tags) = spec.tags {
                table.tags = tags;
            }
        }
        if spec.main == Some(true)
            && let Some(state) = self.vpcs.get_mut(&vpc)
        {
            state.vpc.main_route_table_id = id;
        }
        self.route_table(&id.into())
    }

    /// Deletes a route table that is neither a main one nor associated with a subnet.
    pub fn delete_route_table(&mut self, reference: &ResourceRef<RouteTableId>) -> Result<RouteTable, ModelError> {
        let table = self.route_table(reference)?;
        let subnets: Vec<String> = table.subnet_ids.iter().map(ToString::to_string).collect();
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
        self.route_tables.remove(&table.id);
        self.route_table_names.rename(table.id, table.name.as_deref(), None);
        Ok(table)
    }

    /// Gives a subnet a table of its own, in place of the one that it had.
    pub fn associate(
        &mut self,
        table: &ResourceRef<RouteTableId>,
        subnet: &ResourceRef<SubnetId>,
    ) -> Result<SubnetId, ModelError> {
        let id = self.route_table_id(table)?;
        let vpc = self.route_tables.get(&id).map(|table| table.vpc);
        let subnet = self.subnet(subnet)?;
        let subnet_id = subnet.id;
        if Some(subnet.vpc_id) != vpc {
            return Err(ModelError::DifferentNetworks {
                table: id,
                subnet: subnet_id,
            });
        }
        if let Some(state) = self.subnets.get_mut(&subnet_id) {
            state.route_table = Some(id);
        }
        Ok(subnet_id)
    }

    /// Gives a subnet back to the main table.
    pub fn disassociate(
        &mut self,
        table: &ResourceRef<RouteTableId>,
        subnet: &ResourceRef<SubnetId>,
    ) -> Result<SubnetId, ModelError> {
        let table = self.route_table_id(table)?;
        let subnet = self.subnet(subnet)?.id;
        match self.subnets.get_mut(&subnet) {
            Some(state) if state.route_table == Some(table) => {
                state.route_table = None;
                Ok(subnet)
            }
            _ => Err(ModelError::NotAssociated { subnet, table }),
        }
    }

    /// Edits one route of a table.
    pub fn edit_route(
        &mut self,
        table: &ResourceRef<RouteTableId>,
        edit: &RouteEdit,
    ) -> Result<RouteTableId, ModelError> {
        let id = self.route_table_id(table)?;
        match edit {
            RouteEdit::Create(destination, target) => self.put_route(id, destination.trunc(), target, Some(false)),
            RouteEdit::Replace(destination, target) => self.put_route(id, destination.trunc(), target, Some(true)),
            RouteEdit::Put(destination, target) => self.put_route(id, destination.trunc(), target, None),
            RouteEdit::Delete(destination) => self.delete_route(id, destination.trunc()),
        }
        .map(|()| id)
    }

    /// `there` says whether the route must be there already.
    fn put_route(
        &mut self,
        id: RouteTableId,
        destination: IpNet,
        target: &TargetRef,
        there: Option<bool>,
    ) -> Result<(), ModelError> {
        let Some(table) = self.route_tables.get(&id) else {
            return Err(not_found(&ResourceRef::Id(id)));
        };
        let wrong = |text: String, field, remedy| Err(ModelError::Route { text, field, remedy });
        let existing = table.routes.get(&destination).copied();
        match (existing, there) {
            (Some(_), Some(false)) => return Err(ModelError::RouteExists { destination }),
            (None, Some(true)) => {
                let text = format!("There is no route defined for '{destination}' in the route table.");
                return wrong(text, "destination", "Create the route instead.");
            }
            _ => {}
        }
        if let Some(range) = forbidden(destination) {
            let text = format!("The destination {destination} lies in {range}, which serves the VPC itself");
            return wrong(text, "destination", "Choose a destination outside of it.");
        }
        let vpc = table.vpc;
        let target = match target {
            TargetRef::Local => RouteTarget::Local,
            TargetRef::Blackhole => RouteTarget::Blackhole,
            TargetRef::Interface(reference) => {
                let interface = self.interface_id(reference)?;
                if self.state(interface).vpc != vpc {
                    let text =
                        format!("route table {id} and network interface {interface} belong to different networks");
                    return wrong(text, "target", "Name an interface of the route table's VPC.");
                }
                RouteTarget::Interface(interface)
            }
        };
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
            // The text is parsed by tools.
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
        if let Some(table) = self.route_tables.get_mut(&id) {
            table.routes.insert(destination, RouteEntry { target, origin });
        }
        Ok(())
    }

    fn delete_route(&mut self, id: RouteTableId, destination: IpNet) -> Result<(), ModelError> {
        let Some(table) = self.route_tables.get_mut(&id) else {
            return Err(not_found(&ResourceRef::Id(id)));
        };
        match table.routes.get(&destination) {
            None => Err(ModelError::NoRoute { table: id, destination }),
            Some(entry) if entry.origin == RouteOrigin::CreateRouteTable => Err(ModelError::Route {
                text: format!("cannot remove local route {destination} in route table {id}"),
                field: "destination",
                remedy: "Replace its target instead.",
            }),
            Some(_) => {
                table.routes.remove(&destination);
                Ok(())
            }
        }
    }

    /// Refuses a new range that would take over what a route leads elsewhere (VPC guide, "Add an IPv4 CIDR block": the
    /// same as or larger than the destination of a route is not allowed).
    pub(in crate::model) fn check_new_ranges(&self, vpc: VpcId, ranges: &[IpNet]) -> Result<(), ModelError> {
        let Some(old) = self.vpcs.get(&vpc).map(|state| state.vpc.ranges()) else {
            return Ok(());
        };
        let tables = || self.route_tables.iter().filter(|(_, table)| table.vpc == vpc);
        for range in ranges.iter().filter(|range| !old.contains(range)) {
            let destinations = tables().flat_map(|(id, table)| table.routes.keys().map(move |net| (*id, *net)));
            if let Some((id, net)) = destinations.into_iter().find(|(_, net)| range.contains(net)) {
                let field = if range.addr().is_ipv4() {
                    "cidr_blocks"
                } else {
                    "ipv6_cidr_blocks"
                };
                return Err(ModelError::CidrConflict {
                    net: *range,
                    with: format!("the route to {net} in {id}"),
                    code: "InvalidVpc.Conflict",
                    field,
                });
            }
        }
        Ok(())
    }

    /// Brings the local routes of all tables of a VPC in line with its ranges. Those that lead elsewhere go on doing so.
    pub(in crate::model) fn renew_local_routes(&mut self, vpc: VpcId) {
        let Some(ranges) = self.vpcs.get(&vpc).map(|state| state.vpc.ranges()) else {
            return;
        };
        for table in self.route_tables.values_mut().filter(|table| table.vpc == vpc) {
            table
                .routes
                .retain(|net, entry| entry.origin == RouteOrigin::CreateRoute || ranges.contains(net));
            for range in &ranges {
                table.routes.entry(*range).or_insert(RouteEntry::LOCAL);
            }
        }
    }
}
