//! Sets up the network of one run: a runtime of its own, addressed by the names of the file.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;

use super::super::format::Modify;
use super::Marks;
use crate::control::{ControlError, Controller, ExplainRequest};
use crate::datapath::Answered;
use crate::file::template::{Facts, Scope};
use crate::lab::Instance;
use crate::model::fault::FaultSpec;
use crate::model::mapping::{EditMappings, MappingEdit};
use crate::model::route_table::{EditRoute, RouteEdit};
use crate::model::subnet::plan;
use crate::model::{AddressOrPrefix, Command, FaultId, InterfaceId, ResourceRef};
use crate::report::graph::Graph;
use crate::report::reach::{self, Way};
use crate::report::run::InstanceSummary;
use crate::report::run::PortCounts;
use crate::runtime::{HostApi, Runtime, RuntimeConfig, RuntimeError, StartApi, host_environment};
use crate::topology::format::{Topology, interface_facts, router_facts, subnet_facts};
use crate::topology::{DeclareError, Layout, declare};

/// Settings for the network of a run.
#[derive(Debug, Clone)]
pub struct StageOptions {
    /// Whether TAPs use offloads: frames larger than the MTU and unfinished checksums.
    pub offload: bool,
    /// The program that becomes process 1 of an instance; this one if left out.
    pub init_program: Option<PathBuf>,
    /// Starts the server of the API for the programs in instances; without it they have no API.
    pub api: Option<StartApi>,
}

impl Default for StageOptions {
    fn default() -> Self {
        Self {
            offload: true,
            init_program: None,
            api: None,
        }
    }
}

/// Why the network of a run cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The switch or the lab does not start.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The Controller refused a part of the topology.
    #[error(transparent)]
    Declare(#[from] DeclareError),
    /// The API for the programs in instances does not start.
    #[error("the API for instances does not start: {0}")]
    Api(#[from] std::io::Error),
}

/// Code and message of a refusal by the Controller.
pub(super) type Refusal = (String, String);

/// An edit of the mapping table, by the names of the file.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Assign {
        address: AddressOrPrefix,
        instance: String,
        move_allowed: bool,
    },
    Unassign {
        address: AddressOrPrefix,
        instance: String,
    },
}

/// The network of one run. Dropping it removes everything.
pub struct Stage {
    /// Serves the API to the hosts as long as the stage exists.
    _inside: Option<Arc<dyn HostApi>>,
    runtime: Arc<Runtime>,
    /// The path of this program for instances.
    program: PathBuf,
    /// The subnets of the file, and the instances with their subnets.
    vpcs: Vec<String>,
    subnets: Vec<String>,
    instances: BTreeMap<String, String>,
    /// Interfaces that are not primary, with their subnets.
    interfaces: BTreeMap<String, String>,
    parameters: BTreeMap<String, String>,
}

impl Stage {
    /// Creates the network; when this returns, its hosts are up.
    pub fn build(
        topology: &Topology,
        parameters: BTreeMap<String, String>,
        seed: u64,
        options: &StageOptions,
    ) -> Result<Self, StageError> {
        let program = match &options.init_program {
            Some(program) => program.clone(),
            None => std::env::current_exe()?,
        };
        let runtime = Arc::new(Runtime::start(RuntimeConfig {
            seed: Some(seed),
            offload: options.offload,
            init_program: options.init_program.clone(),
            environment: host_environment(&program),
            ..RuntimeConfig::default()
        })?);
        let scope = Scope {
            parameters: parameters.clone(),
            ..Scope::default()
        };
        let inside = options.api.map(|start| start(&runtime)).transpose()?;
        inside.iter().for_each(|inside| runtime.serve_hosts(inside));
        declare(&runtime, topology, &scope)?;
        Ok(Self {
            _inside: inside,
            program,
            runtime,
            vpcs: topology.vpcs.keys().cloned().collect(),
            subnets: topology.subnets.keys().cloned().collect(),
            instances: topology
                .instances
                .iter()
                .map(|(name, instance)| (name.clone(), instance.value.subnet.value.clone()))
                .collect(),
            interfaces: topology
                .interfaces
                .iter()
                .map(|(name, interface)| (name.clone(), interface.value.subnet.value.clone()))
                .collect(),
            parameters,
        })
    }

    /// The names that expressions can use now.
    pub(super) fn scope(&self) -> Scope {
        let controller = self.runtime.controller();
        let mut scope = Scope {
            parameters: self.parameters.clone(),
            ..Scope::default()
        };
        for name in &self.vpcs {
            if let Ok(vpc) = controller.vpc(&ResourceRef::new(name)) {
                let facts = Facts::default()
                    .with("id", vpc.id)
                    .with_all("cidr_block", vpc.cidr_blocks)
                    .with_all("ipv6_cidr_block", vpc.ipv6_cidr_blocks);
                scope.vpcs.insert(name.clone(), facts);
            }
        }
        for name in &self.subnets {
            if let Ok(subnet) = controller.subnet(&ResourceRef::new(name)) {
                let facts = subnet_facts(subnet.id, subnet.cidr_block, subnet.ipv6_cidr_block);
                scope.subnets.insert(name.clone(), facts);
                if let Ok(vpc) = controller.vpc(&subnet.vpc_id.into()) {
                    let ipv4 = subnet.cidr_block.map(|block| plan::gateway(block, &vpc.profile));
                    let ipv6 = subnet.ipv6_cidr_block.map(plan::router_ipv6);
                    let facts = router_facts(subnet.router_mac, ipv4, ipv6);
                    scope.routers.insert(name.clone(), facts);
                }
            }
        }
        for (name, subnet) in self.instances.iter().chain(&self.interfaces) {
            if let Ok(interface) = controller.interface(&ResourceRef::new(name)) {
                let prefixes = interface.ipv4_prefixes.iter().map(|prefix| IpNet::from(*prefix));
                let prefixes = prefixes.chain(interface.ipv6_prefixes.iter().map(|prefix| IpNet::from(*prefix)));
                let facts = interface_facts(name, subnet, interface.id, interface.mac_address)
                    .with_all("ipv4", &interface.ipv4_addresses)
                    .with_all("ipv6", &interface.ipv6_addresses)
                    .with_all("prefixes", prefixes)
                    .with_all(
                        "public_ipv4",
                        interface.public_addresses.iter().map(|address| address.public_ip),
                    );
                match self.instances.contains_key(name) {
                    true => scope.instances.insert(name.clone(), facts.with("device", "eth0")),
                    false => scope.interfaces.insert(name.clone(), facts),
                };
            }
        }
        scope
    }

    /// The names of the hosts.
    pub(super) fn instance_names(&self) -> Vec<String> {
        self.instances.keys().cloned().collect()
    }

    /// A host.
    pub(super) fn instance(&self, name: &str) -> Result<Arc<Instance>, String> {
        self.runtime
            .lab()
            .get(name)
            .ok_or_else(|| format!("there is no instance `{name}`"))
    }

    /// A host whose programs can reach the API.
    pub(super) fn booted(&self, name: &str) -> Result<Arc<Instance>, String> {
        let instance = self.instance(name)?;
        instance.machine().map_err(|error| error.to_string())?;
        Ok(instance)
    }

    /// The path of this program for instances.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// The one writer of the network.
    pub(super) fn controller(&self) -> &Controller {
        self.runtime.controller()
    }

    /// The names of all interfaces, by identifier.
    pub(super) fn interface_names(&self) -> BTreeMap<String, String> {
        self.instances
            .keys()
            .chain(self.interfaces.keys())
            .filter_map(|name| Some((self.interface(name).ok()?.to_string(), name.clone())))
            .collect()
    }

    /// The interface of a host.
    pub(super) fn interface(&self, instance: &str) -> Result<InterfaceId, String> {
        let interface = self.controller().interface(&ResourceRef::new(instance));
        Ok(interface.map_err(|error| error.to_string())?.id)
    }

    /// Begins a fault.
    pub(super) fn begin_fault(&self, spec: FaultSpec) -> Result<FaultId, Refusal> {
        let begun = self.controller().begin_fault(spec);
        begun.map(|fault| fault.id).map_err(|error| refusal(&error))
    }

    /// Ends a fault, unless it has ended by itself.
    pub(super) fn end_fault(&self, id: FaultId) {
        let _ = self.controller().cancel_fault(id);
    }

    /// The network, to be drawn.
    pub(super) fn graph(&self, topology: &Topology) -> Option<Graph> {
        let layout = Layout::desired(topology, &self.scope());
        layout.ok().map(|layout| Graph::of(&layout))
    }

    /// Which instance reaches which.
    pub(super) fn reach(&self) -> Vec<Way> {
        const MOST: usize = 16;
        if self.instances.len() > MOST {
            return Vec::new();
        }
        let controller = self.controller();
        let addresses = |name: &str, family: &str| -> Option<IpAddr> {
            let interface = controller.interface(&ResourceRef::new(name)).ok()?;
            match family {
                "IPv4" => interface.primary_ipv4().map(IpAddr::V4),
                _ => interface.ipv6_addresses.first().copied().map(IpAddr::V6),
            }
        };
        let mut ways = Vec::new();
        for family in ["IPv4", "IPv6"] {
            for from in self.instances.keys() {
                for to in self.instances.keys().filter(|to| *to != from) {
                    let (Some(_), Some(address)) = (addresses(from, family), addresses(to, family)) else {
                        continue;
                    };
                    let request = ExplainRequest::ping(ResourceRef::new(from), address);
                    // An interface that cannot be asked about has no way.
                    let Ok(explained) = controller.explain(request) else {
                        continue;
                    };
                    ways.push(Way {
                        family: family.to_owned(),
                        from: from.clone(),
                        to: to.clone(),
                        address: address.to_string(),
                        verdict: reach::verdict(&serde_json::to_value(&explained).unwrap_or_default()),
                    });
                }
            }
        }
        ways
    }

    /// The hosts and their addresses, for display.
    pub fn summaries(&self) -> Vec<InstanceSummary> {
        let controller = self.runtime.controller();
        self.instances
            .iter()
            .filter_map(|(name, subnet)| {
                let interface = controller.interface(&ResourceRef::new(name)).ok()?;
                let addresses = interface
                    .ipv4_addresses
                    .iter()
                    .map(ToString::to_string)
                    .chain(interface.ipv6_addresses.iter().map(ToString::to_string))
                    .chain(interface.ipv4_prefixes.iter().map(ToString::to_string))
                    .chain(interface.ipv6_prefixes.iter().map(ToString::to_string))
                    .collect();
                Some(InstanceSummary {
                    name: name.clone(),
                    subnet: subnet.clone(),
                    mac: interface.mac_address.to_string(),
                    addresses,
                    pid: self
                        .runtime
                        .lab()
                        .get(name)?
                        .machine()
                        .ok()
                        .map(|machine| machine.pid()),
                })
            })
            .collect()
    }

    /// The counters of every port, by instance.
    pub(super) fn ports(&self) -> Marks {
        let controller = self.runtime.controller();
        controller
            .ports()
            .into_iter()
            .filter_map(|report| {
                let interface = controller.interface_at(report.interface)?;
                let name = controller.interface(&interface.into()).ok()?.name?;
                let found = &report.counters;
                let mut counters: BTreeMap<String, u64> = [
                    ("received_frames", found.received.frames),
                    ("received_bytes", found.received.bytes),
                    ("sent_frames", found.sent.frames),
                    ("sent_bytes", found.sent.bytes),
                    ("sent_merged", found.sent_merged),
                    ("unasked", found.unasked),
                    ("refused", found.refused),
                ]
                .into_iter()
                .map(|(name, count)| (name.to_owned(), count))
                .collect();
                for kind in Answered::ALL {
                    counters.insert(kind.name().to_owned(), found.answered(*kind));
                }
                let drops = found
                    .drops()
                    .map(|(reason, count)| (reason.name().to_owned(), count))
                    .collect();
                Some((name, PortCounts { drops, counters }))
            })
            .collect()
    }

    /// Edits the mapping table: the whole list or nothing.
    pub(super) fn edit(&self, changes: Vec<Change>) -> Result<(), Refusal> {
        let edits = changes
            .into_iter()
            .map(|change| match change {
                Change::Assign {
                    address,
                    instance,
                    move_allowed,
                } => MappingEdit::Assign {
                    interface: ResourceRef::new(&instance),
                    address,
                    move_allowed,
                },
                Change::Unassign { address, instance } => MappingEdit::Unassign {
                    interface: ResourceRef::new(&instance),
                    address,
                },
            })
            .collect();
        self.execute(EditMappings(edits))
    }

    /// Changes an interface.
    pub(super) fn modify(&self, modify: &Modify) -> Result<(), Refusal> {
        let interface: ResourceRef<_> = ResourceRef::new(&modify.interface.value);
        if modify.detach {
            let detached = self.runtime.controller().begin_detachment(&interface, false);
            detached.map_err(|error| refusal(&error))?;
        }
        if let Some(host) = &modify.attach_to {
            let attached = self.runtime.begin_attachment_to_host(&interface, &host.value, None);
            attached.map_err(|error| match &error {
                RuntimeError::Control(error) => refusal(error),
                RuntimeError::Place(error) => (error.code().to_owned(), error.to_string()),
                error => ("InternalError".to_owned(), error.to_string()),
            })?;
        }
        self.execute(modify.command(interface))
    }

    /// Edits a route of a table.
    pub(super) fn edit_route(&self, table: &str, edit: RouteEdit) -> Result<(), Refusal> {
        let table = ResourceRef::new(table);
        self.execute(EditRoute { table, edit })
    }

    pub(super) fn execute<C: Command>(&self, command: C) -> Result<(), Refusal>
    where
        ControlError: From<C::Error>,
    {
        self.runtime
            .controller()
            .execute(command)
            .map(drop)
            .map_err(|error| refusal(&error))
    }
}

pub(super) fn refusal(error: &ControlError) -> Refusal {
    (error.code().to_owned(), error.to_string())
}
