//! Makes a command of each kind from random numbers.

use super::*;

fn mapping_edits(draw: &Draw, network: &Network) -> Vec<MappingEdit> {
    let address = draw.block(network);
    let assign = |place, move_allowed| MappingEdit::Assign {
        interface: draw.interface(place, network),
        address,
        move_allowed,
    };
    let unassign = |place| MappingEdit::Unassign {
        interface: draw.interface(place, network),
        address,
    };
    let remove = MappingEdit::Remove {
        subnet: draw.subnet(network),
        address,
    };
    match draw.number {
        0 => vec![assign(0, false)],
        1 => vec![assign(0, true), assign(1, true)],
        2 => vec![assign(0, true), unassign(0)],
        3 => vec![unassign(0), assign(1, false)],
        4 => vec![remove],
        5 => vec![assign(0, true), unassign(0), assign(0, true)],
        6 => vec![assign(0, true), assign(1, false)],
        _ => vec![unassign(1)],
    }
}

fn route_edit(draw: &Draw, network: &Network) -> RouteEdit {
    let destinations = ["192.0.2.0/24", "10.0.0.0/16", "10.0.1.0/24", "2001:db8:f::/48"];
    let destination = destinations[usize::from(draw.number) % 4].parse().unwrap();
    let target = match draw.number {
        0 | 1 => TargetRef::Local,
        2 => TargetRef::Blackhole,
        _ => TargetRef::Interface(draw.interface(0, network)),
    };
    match (draw.flag, draw.number % 3) {
        (true, 0) => RouteEdit::Delete(destination),
        (true, _) => RouteEdit::Put(destination, target),
        (false, 0) => RouteEdit::Replace(destination, target),
        (false, _) => RouteEdit::Create(destination, target),
    }
}

fn group_rules(draw: &Draw, network: &Network) -> Vec<RuleSpec> {
    let peer = match draw.number % 3 {
        0 => PeerRef::Cidr("10.0.0.0/8".parse().unwrap()),
        1 => PeerRef::PrefixList(draw.pick(0, network.prefix_lists.keys().copied())),
        _ => PeerRef::Group(draw.pick(0, network.security_groups.keys().copied())),
    };
    let direction = if draw.flag {
        Direction::Ingress
    } else {
        Direction::Egress
    };
    vec![RuleSpec::new(direction, Traffic::Other(draw.number), peer)]
}

impl World {
    /// Executes a random command. Returns whether it was accepted.
    pub(super) fn random(&mut self, draw: &Draw) -> bool {
        let network = &self.network;
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(draw.number.into());
        let tags = || [("k".to_owned(), draw.number.to_string())].into();
        let metadata = || MetadataChange {
            instance_tags: Some(draw.flag),
            ..MetadataChange::default()
        };
        match draw.kind {
            0 => self.accepts(CreateVpc {
                name: draw.name(),
                ipv6_cidr_blocks: vec!["2001:db8::/56".parse().unwrap()],
                profile: Arc::new(if draw.flag { Profile::azure() } else { Profile::aws() }),
                tags: tags(),
                ..CreateVpc::new("10.0.0.0/16".parse().unwrap())
            }),
            1 => self.accepts(ModifyVpc {
                name: Some(draw.name()),
                cidr_blocks: Some(
                    ["10.0.0.0/16", "10.1.0.0/16"][..1 + usize::from(draw.flag)]
                        .iter()
                        .map(|text| text.parse().unwrap())
                        .collect(),
                ),
                dhcp_options: draw.flag.then(|| DhcpOptionsChoice::Set(draw.set(network))),
                ..ModifyVpc::new(draw.vpc(network))
            }),
            2 => self.accepts(DeleteVpc(draw.vpc(network))),
            3 | 4 => self.accepts(CreateSubnet {
                name: draw.name(),
                cidr_block: (draw.number > 0).then(|| format!("10.0.{}.0/24", draw.number).parse().unwrap()),
                ipv6_cidr_block: draw
                    .flag
                    .then(|| format!("2001:db8:0:{}::/64", draw.number).parse().unwrap()),
                tags: tags(),
                ..CreateSubnet::new(draw.vpc(network))
            }),
            5 => self.accepts(ModifySubnet {
                name: Some(draw.name()),
                tags: Some(tags()),
                ..ModifySubnet::new(draw.subnet(network))
            }),
            6 => self.accepts(DeleteSubnet(draw.subnet(network))),
            7 | 8 => self.accepts(CreateInterface {
                name: draw.name(),
                addresses: match draw.number {
                    0 => vec![AddressRequest::AnyIpv4Prefix, AddressRequest::AnyIpv6],
                    1 => vec![AddressRequest::Exactly(draw.block(network))],
                    _ => Vec::new(),
                },
                settings: SettingsChange {
                    metadata: draw.flag.then(metadata),
                    ..SettingsChange::default()
                },
                ..CreateInterface::new(draw.subnet(network))
            }),
            9 => self.accepts(ModifyInterface {
                name: Some(draw.name()),
                source_dest_check: Some(draw.flag),
                settings: SettingsChange {
                    mtu: Some(Some(1499 + u16::from(draw.number))),
                    metadata: draw.flag.then(metadata),
                    ..SettingsChange::default()
                },
                ..ModifyInterface::new(draw.interface(0, network))
            }),
            10 => self.accepts(DeleteInterface(draw.interface(0, network))),
            11 | 12 => {
                let instances: Vec<InstanceId> = network.instances().map(|instance| instance.id).collect();
                let place = (draw.flag && !instances.is_empty()).then(|| Attachment {
                    delete_on_termination: draw.number.is_multiple_of(2),
                    ..Attachment::new(*draw.on[1].get(&instances), u32::from(draw.number % 3))
                });
                let interface = draw.interface(0, network);
                self.accepts(AttachInterface { interface, place, at })
            }
            13 => self.accepts(DetachInterface(draw.interface(0, network))),
            14 => self.accepts(CreateInstance {
                name: draw.name(),
                primary_interface: draw.interface(0, network),
                metadata: metadata(),
                tags: tags(),
            }),
            15 => self.accepts(ModifyInstance {
                name: Some(draw.name()),
                metadata: metadata(),
                tags: Some(tags()),
                ..ModifyInstance::new(draw.instance(network))
            }),
            16 => self.accepts(DeleteInstance(draw.instance(network))),
            17 | 18 => self.accepts(EditMappings(mapping_edits(draw, network))),
            19 => self.accepts(AssignAddresses {
                interface: draw.interface(0, network),
                addresses: vec![AddressRequest::AnyIpv4, AddressRequest::Exactly(draw.block(network))],
                move_allowed: draw.flag,
            }),
            20 => self.random_on_tables(draw),
            21 => self.accepts(EditRoute {
                table: draw.table(network),
                edit: route_edit(draw, network),
            }),
            22 => self.accepts(CreateDhcpOptions {
                name: draw.name(),
                options: match draw.number {
                    0 => DhcpOptions::default(),
                    _ => DhcpOptions::for_region("eu-central-1"),
                },
                tags: tags(),
            }),
            23 => self.accepts(DeleteDhcpOptions(draw.set(network))),
            24..=26 => self.random_on_groups(draw),
            27 | 28 => self.random_on_acls(draw),
            29 => self.random_on_lists(draw),
            30 | 31 => {
                let existing = LaunchInterface {
                    device_index: 1,
                    interface: NewOrExisting::Existing(draw.interface(0, network)),
                    delete_on_termination: draw.number > 3,
                };
                let primary = LaunchInterface {
                    device_index: 0,
                    interface: NewOrExisting::New(Box::new(CreateInterface::new(draw.subnet(network)))),
                    delete_on_termination: draw.number < 5,
                };
                let instance = LaunchInstance {
                    name: draw.name(),
                    interfaces: std::iter::once(primary).chain(draw.flag.then_some(existing)).collect(),
                    metadata: metadata(),
                    tags: tags(),
                    image: "ami-1".to_owned(),
                    key_name: None,
                    client_token: None,
                    protected: draw.number == 0,
                };
                self.accepts(LaunchInstances {
                    instances: vec![instance],
                    at,
                })
            }
            32 => {
                let states = [
                    InstanceState::Running,
                    InstanceState::Stopping,
                    InstanceState::ShuttingDown,
                    InstanceState::Terminated,
                    InstanceState::Pending,
                    InstanceState::Stopped,
                ];
                let all: Vec<InstanceId> = network.instances().map(|instance| instance.id).collect();
                let instances = if all.is_empty() {
                    all
                } else {
                    vec![*draw.on[1].get(&all)]
                };
                self.accepts(SetInstanceState {
                    instances,
                    to: states[usize::from(draw.number) % states.len()],
                    reason: None,
                    at,
                })
            }
            33 => self.accepts(ModifyAttachment {
                interface: draw.interface(0, network),
                state: draw.flag.then_some(AttachmentState::Detaching),
                delete_on_termination: Some(draw.number > 3),
            }),
            34 => self.random_on_gateways(draw),
            35 => self.random_on_flow_logs(draw),
            36 => self.random_on_addresses(draw),
            37 | 38 => self.random_on_nats(draw),
            _ => self.random_on_links(draw),
        }
    }

    fn random_on_groups(&mut self, draw: &Draw) -> bool {
        let network = &self.network;
        let group = draw.pick(1, network.security_groups.keys().copied());
        let rules = group_rules(draw, network);
        let of_group = || {
            let known = network.security_group(&group).ok();
            known.and_then(|group| group.rules.first().map(|rule| rule.id))
        };
        let first = of_group().unwrap_or(SecurityGroupRuleId::from_bits(1 << 40));
        match draw.number {
            0 => self.accepts(CreateSecurityGroup {
                name: draw.name(),
                vpc: draw.vpc(network),
                group_name: Some(format!("g{}", draw.number)),
                description: None,
                ingress: Vec::new(),
                egress: draw.flag.then_some(rules),
                tags: Default::default(),
            }),
            1 => self.accepts(ModifySecurityGroup {
                name: Some(draw.name()),
                ingress: draw.flag.then_some(rules),
                ..ModifySecurityGroup::new(group)
            }),
            2 => self.accepts(DeleteSecurityGroup(group)),
            3 | 4 => self.accepts(AuthorizeRules { group, rules }),
            5 => self.accepts(RevokeRules {
                group,
                rules: vec![RuleRef::Id(first)],
                direction: None,
            }),
            6 => self.accepts(ModifyRules {
                group,
                rules: vec![(
                    first,
                    RuleChange {
                        traffic: Traffic::Other(draw.number),
                        peer: rules[0].peer.clone(),
                        description: draw.name(),
                    },
                )],
            }),
            _ => {
                let groups = [0, 1].map(|place| draw.pick(place, network.security_groups.keys().copied()));
                self.accepts(ModifyInterface {
                    groups: Some(groups[..1 + usize::from(draw.flag)].to_vec()),
                    ..ModifyInterface::new(draw.interface(2, network))
                })
            }
        }
    }

    fn random_on_acls(&mut self, draw: &Draw) -> bool {
        let network = &self.network;
        let acl = draw.pick(1, network.network_acls.keys().copied());
        let direction = if draw.flag {
            Direction::Ingress
        } else {
            Direction::Egress
        };
        let entry = AclEntry {
            action: if draw.flag { AclAction::Allow } else { AclAction::Deny },
            traffic: Traffic::Other(draw.number),
            cidr: "10.0.0.0/16".parse().unwrap(),
        };
        let edit = match draw.number {
            0 | 1 => {
                return self.accepts(CreateNetworkAcl {
                    name: draw.name(),
                    vpc: draw.vpc(network),
                    entries: vec![(direction, 7, entry)],
                    tags: Default::default(),
                });
            }
            2 => return self.accepts(DeleteNetworkAcl(acl)),
            3 | 4 => {
                let subnet = AssociationRef::Subnet(draw.subnet(network));
                return self.accepts(AssociateNetworkAcl { acl, subnet });
            }
            5 => EntryEdit::Create(entry),
            6 => EntryEdit::Put(entry),
            _ => EntryEdit::Delete,
        };
        let number = 5 + u16::from(draw.number % 3);
        self.accepts(EditEntry {
            acl,
            direction,
            number,
            edit,
        })
    }

    fn random_on_lists(&mut self, draw: &Draw) -> bool {
        let network = &self.network;
        let list = draw.pick(1, network.prefix_lists.keys().copied());
        let block = (format!("10.{}.0.0/16", draw.number).parse().unwrap(), String::new());
        match draw.number {
            0..=2 => self.accepts(CreatePrefixList {
                name: draw.name(),
                list_name: Some("l".to_owned()),
                family: None,
                max_entries: Some(3),
                entries: vec![block],
                tags: Default::default(),
            }),
            3 => self.accepts(RestorePrefixList {
                list,
                previous_version: 1,
                current_version: 2,
            }),
            4 => self.accepts(DeletePrefixList(list)),
            _ => self.accepts(ModifyPrefixList {
                entries: EntriesChange::Edit {
                    add: vec![block],
                    remove: Vec::new(),
                },
                ..ModifyPrefixList::new(list)
            }),
        }
    }

    fn random_on_gateways(&mut self, draw: &Draw) -> bool {
        let network = &self.network;
        let gateway = draw.pick(1, network.internet_gateways().map(|gateway| gateway.id));
        match draw.number {
            0 if draw.flag => self.accepts(CreateDefaultVpc {
                zones: vec!["us-east-1a".to_owned()],
            }),
            1 if draw.flag => self.accepts(CreateDefaultSubnet {
                zone: "us-east-1b".to_owned(),
            }),
            2 if draw.flag => {
                let set = draw.pick(0, network.dhcp_option_sets().map(|set| set.id));
                self.accepts(ModifyDhcpOptions {
                    name: Some(draw.name()),
                    ..ModifyDhcpOptions::new(set)
                })
            }
            0..=2 => self.accepts(CreateInternetGateway {
                name: draw.name(),
                vpc: (draw.number > 0).then(|| draw.vpc(network)),
                tags: Default::default(),
            }),
            3 => self.accepts(ModifyInternetGateway {
                gateway,
                name: Some(draw.name()),
                tags: None,
            }),
            4 => self.accepts(DeleteInternetGateway(gateway)),
            5 => self.accepts(DetachInternetGateway { gateway, vpc: None }),
            _ => self.accepts(AttachInternetGateway {
                gateway,
                vpc: draw.vpc(network),
            }),
        }
    }

    fn random_on_flow_logs(&mut self, draw: &Draw) -> bool {
        let network = &self.network;
        let flow_log = draw.pick(1, network.flow_logs().map(|log| log.id));
        match draw.number {
            0..=4 => self.accepts(CreateFlowLog {
                name: draw.name(),
                resource: match draw.number {
                    0 | 1 => FlowLogResourceRef::Vpc(draw.vpc(network)),
                    2 => FlowLogResourceRef::Subnet(draw.subnet(network)),
                    _ => FlowLogResourceRef::Interface(draw.interface(0, network)),
                },
                traffic: TrafficType::All,
                destination: if draw.flag {
                    Destination::Memory
                } else {
                    Destination::Stdout
                },
                format: None,
                interval: None,
                at: std::time::UNIX_EPOCH,
                tags: Default::default(),
            }),
            5 => self.accepts(ModifyFlowLog {
                flow_log,
                name: Some(draw.name()),
                tags: None,
            }),
            _ => self.accepts(DeleteFlowLog(flow_log)),
        }
    }

    fn random_on_addresses(&mut self, draw: &Draw) -> bool {
        let network = &self.network;
        let address = draw.pick(1, network.elastic_ips().map(|address| address.id));
        match draw.number {
            0 | 1 => self.accepts(AllocateAddress {
                name: draw.name(),
                public_ip: draw.flag.then(|| Ipv4Addr::new(203, 0, 113, 1 + draw.number)),
                tags: Default::default(),
            }),
            2 => self.accepts(ReleaseAddress(address)),
            3 => self.accepts(DisassociateAddress(AddressRef::Address(address))),
            4 => self.accepts(ModifySubnet {
                map_public_ip_on_launch: Some(draw.flag),
                assign_ipv6_on_creation: Some(draw.flag),
                enable_dns64: Some(!draw.flag),
                ipv6_cidr_block: draw.flag.then_some(None),
                ..ModifySubnet::new(draw.subnet(network))
            }),
            _ => self.accepts(AssociateAddress {
                address,
                with: AssociateWith::Interface(draw.interface(0, network)),
                private_ip: None,
                reassociation_allowed: draw.flag,
            }),
        }
    }

    fn random_on_links(&mut self, draw: &Draw) -> bool {
        let network = &self.network;
        let vpcs: Vec<VpcId> = network.vpcs().map(|vpc| vpc.id).collect();
        let gateway = draw.pick(1, network.egress_only_gateways().map(|gateway| gateway.id));
        let peering = draw.pick(2, network.peerings().map(|peering| peering.id));
        let endpoint = draw.pick(1, network.endpoints().map(|endpoint| endpoint.id));
        match draw.number {
            0 if draw.flag && draw.on[0].index(3) == 0 => {
                let subnet = draw.subnet(network);
                let reserved = network
                    .subnets()
                    .find_map(|subnet| Some(subnet.reservations.first()?.id));
                match reserved {
                    Some(id) if draw.on[1].index(3) == 0 => self.accepts(ReleaseCidr(id)),
                    Some(reservation) if draw.on[1].index(3) == 1 => self.accepts(TagReservation {
                        reservation,
                        tags: [("n".to_owned(), draw.number.to_string())].into(),
                    }),
                    _ => self.accepts(ReserveCidr {
                        cidr: draw.block(network).net(),
                        kind: ReservationKind::Prefix,
                        description: String::new(),
                        tags: Default::default(),
                        subnet,
                    }),
                }
            }
            0 if draw.flag && draw.on[0].index(3) == 1 => {
                let (one, at) = (network.launch_templates().next(), SystemTime::UNIX_EPOCH);
                let data: serde_json::Map<_, _> = [("KeyName".to_owned(), draw.number.into())].into_iter().collect();
                let template = one.map(|one| one.id);
                match (template, draw.on[1].index(6)) {
                    (Some(template), 0) => self.accepts(DeleteLaunchTemplate(template)),
                    (Some(template), 1) => self.accepts(DeleteTemplateVersion { template, number: 1 }),
                    (Some(template), 2) => self.accepts(ModifyLaunchTemplate {
                        template,
                        default_version: Some(VersionRef::Latest),
                        tags: Some([("n".to_owned(), draw.number.to_string())].into()),
                    }),
                    (Some(template), 3 | 4) => self.accepts(AddTemplateVersion {
                        template,
                        source: Some(VersionRef::Default),
                        description: String::new(),
                        data,
                        at,
                    }),
                    _ => self.accepts(CreateLaunchTemplate {
                        template_name: format!("template-{}", draw.on[2].index(3)),
                        description: String::new(),
                        data,
                        tags: Default::default(),
                        at,
                    }),
                }
            }
            0 if draw.flag => {
                let pair = network.key_pairs().next().map(|pair| pair.id);
                match pair {
                    Some(pair) if draw.on[1].index(3) == 0 => self.accepts(DeleteKeyPair(pair)),
                    Some(key_pair) if draw.on[1].index(3) == 1 => self.accepts(TagKeyPair {
                        key_pair,
                        tags: [("n".to_owned(), draw.number.to_string())].into(),
                    }),
                    _ => self.accepts(AddKeyPair {
                        key_name: format!("key {}", draw.on[2].index(3)),
                        key_type: KeyType::Rsa,
                        public_key: "ssh-rsa AAAA".to_owned(),
                        fingerprint: "f".to_owned(),
                        tags: Default::default(),
                        at: SystemTime::UNIX_EPOCH,
                    }),
                }
            }
            0 => self.accepts(CreateEgressOnlyGateway {
                name: draw.name(),
                vpc: draw.vpc(network),
                tags: Default::default(),
            }),
            1 if draw.flag => self.accepts(DeleteEgressOnlyGateway(gateway)),
            3 => {
                let gateway = draw.pick(1, network.internet_gateways().map(|gateway| gateway.id));
                let table = draw.pick(0, network.route_tables().map(|table| table.id));
                match draw.flag {
                    true => self.accepts(AssociateGatewayTable {
                        table,
                        gateway,
                        replacing: true,
                    }),
                    false => self.accepts(DisassociateGatewayTable { table, gateway }),
                }
            }
            7 => self.accepts(CreateEndpoint {
                name: draw.name(),
                vpc: draw.vpc(network),
                service: "s3".to_owned(),
                route_tables: vec![draw.pick(0, network.route_tables().map(|table| table.id))],
                policy: None,
                at: SystemTime::UNIX_EPOCH,
                tags: Default::default(),
            }),
            6 if draw.flag => self.accepts(DeleteEndpoint(endpoint)),
            6 => self.accepts(ModifyEndpoint {
                name: Some(draw.name()),
                add: vec![draw.pick(0, network.route_tables().map(|table| table.id))],
                ..ModifyEndpoint::new(endpoint)
            }),
            1 => self.accepts(ModifyEgressOnlyGateway {
                name: Some(draw.name()),
                ..ModifyEgressOnlyGateway::new(gateway)
            }),
            2 => self.accepts(CreatePeering {
                name: draw.name(),
                requester: draw.vpc(network),
                accepter: vpcs.last().copied().unwrap_or(VpcId::MIN).into(),
                accepted: draw.flag,
                may_fail: !draw.flag,
                at: SystemTime::UNIX_EPOCH,
                tags: Default::default(),
            }),
            4 if draw.flag => self.accepts(ForgetPeering(peering)),
            4 => {
                let exclusion = network.exclusions().next().map(|exclusion| exclusion.id);
                match exclusion {
                    Some(exclusion) => self.accepts(IncludeInBlock(exclusion)),
                    None => self.accepts(ExcludeFromBlock {
                        of: ExcludedRef::Vpc(draw.vpc(network)),
                        mode: ExclusionMode::AllowEgress,
                        at: SystemTime::UNIX_EPOCH,
                    }),
                }
            }
            5 if draw.flag => self.accepts(SetBlockPublicAccess {
                mode: BlockMode::BlockIngress,
                at: SystemTime::UNIX_EPOCH,
            }),
            5 => self.accepts(ModifyPeering {
                requester_dns: Some(draw.flag),
                ..ModifyPeering::new(peering)
            }),
            _ => self.accepts(SetPeeringState {
                peering,
                to: if draw.flag {
                    PeeringState::Active
                } else {
                    PeeringState::Deleted
                },
            }),
        }
    }

    fn random_on_nats(&mut self, draw: &Draw) -> bool {
        let network = &self.network;
        let gateway = draw.pick(1, network.nat_gateways().map(|gateway| gateway.id));
        let address = draw.pick(2, network.elastic_ips().map(|address| address.id));
        let own = network
            .nat_gateway(&gateway)
            .ok()
            .and_then(|gateway| gateway.addresses.last().copied());
        let private_ips: Vec<Ipv4Addr> = own.map(|address| address.private_ip).into_iter().collect();
        let allocations = if draw.flag { vec![address] } else { Vec::new() };
        match draw.number {
            0..=2 => self.accepts(CreateNatGateway {
                name: draw.name(),
                connectivity: if draw.flag {
                    Connectivity::Public
                } else {
                    Connectivity::Private
                },
                allocations,
                further: usize::from(draw.number),
                pending: draw.number == 1,
                may_fail: draw.number == 2,
                ..CreateNatGateway::new(draw.subnet(network), SystemTime::UNIX_EPOCH)
            }),
            3 => self.accepts(ModifyNatGateway {
                name: Some(draw.name()),
                ..ModifyNatGateway::new(gateway)
            }),
            4 => self.accepts(AddNatAddresses {
                gateway,
                allocations,
                private_ips: Vec::new(),
                further: 1,
            }),
            5 => self.accepts(DrainNatAddresses { gateway, private_ips }),
            6 => self.accepts(RemoveNatAddresses { gateway, private_ips }),
            _ => self.accepts(DeleteNatGateway {
                gateway,
                to: if draw.flag { Deletion::Done } else { Deletion::Forgotten },
                at: SystemTime::UNIX_EPOCH,
            }),
        }
    }

    fn random_on_tables(&mut self, draw: &Draw) -> bool {
        let network = &self.network;
        let (table, subnet) = (draw.table(network), draw.subnet(network));
        match draw.number {
            0 | 1 => self.accepts(CreateRouteTable {
                name: draw.name(),
                vpc: draw.vpc(network),
                tags: Default::default(),
            }),
            2 => self.accepts(ModifyRouteTable {
                name: Some(draw.name()),
                main: draw.flag.then_some(true),
                ..ModifyRouteTable::new(table)
            }),
            3 => self.accepts(DeleteRouteTable(table)),
            4 | 5 => self.accepts(AssociateRouteTable {
                table,
                subnet,
                replacing: true,
            }),
            _ => self.accepts(DisassociateRouteTable { table, subnet }),
        }
    }
}
