//! Makes, changes and deletes security groups and their rules, and says which interface has which.

use ipnet::IpNet;

use super::error::DESCRIPTION;
use super::{
    AuthorizeRules, CreateSecurityGroup, DEFAULT_GROUP, DeleteSecurityGroup, DescribeRules, MOST_GROUPS, ModifyRules,
    ModifySecurityGroup, Peer, PeerRef, RevokeRules, RuleRef, RuleSpec, SecurityGroup, SecurityGroupError,
    SecurityGroupRule, TagRule,
};
use crate::model::change::{Record, Stored};
use crate::model::command::{Command, Edit};
use crate::model::error::ModelError;
use crate::model::ids::{InterfaceId, PrefixListId, ResourceRef, SecurityGroupId, SecurityGroupRuleId, VpcId};
use crate::model::limits::Limits;
use crate::model::naming::{Names, Tags};
use crate::model::network::{Network, fresh_id, not_found};
use crate::model::traffic::{Direction, Traffic};
use crate::model::vpc::Vpc;

/// The longest name and description (EC2 API, CreateSecurityGroup).
const LONGEST: usize = 255;

impl Record for SecurityGroup {
    type Id = SecurityGroupId;

    fn id(&self) -> SecurityGroupId {
        self.id
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl Stored for SecurityGroup {
    fn names(network: &mut Network) -> &mut Names<SecurityGroupId> {
        &mut network.security_group_names
    }

    fn put(network: &mut Network, before: Option<&Self>, after: Option<&Self>) {
        if let Some(before) = before {
            network.group_names.remove(&(before.vpc_id, before.group_name.clone()));
            for rule in &before.rules {
                network.group_rules.remove(&rule.id);
            }
            if after.is_none() {
                network.security_groups.remove(&before.id);
            }
        }
        if let Some(after) = after {
            network
                .group_names
                .insert((after.vpc_id, after.group_name.clone()), after.id);
            let rules = after.rules.iter().map(|rule| (rule.id, after.id));
            network.group_rules.extend(rules);
            network.security_groups.insert(after.id, after.clone());
        }
    }

    fn all(network: &Network) -> Vec<Self> {
        network.security_groups.values().cloned().collect()
    }
}

fn is_plain(text: &str, more: &str) -> bool {
    text.chars().count() <= LONGEST && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
}

fn check_group_name(name: &str) -> Result<(), SecurityGroupError> {
    let reason = if name == DEFAULT_GROUP {
        "Cannot use reserved security group name: default"
    } else if name.starts_with("sg-") {
        "Group names may not be in the format sg-*."
    } else if name.chars().count() > LONGEST {
        "Group names have at most 255 characters."
    } else if name.trim().is_empty() || !is_plain(name, DESCRIPTION) {
        "Character sets beyond ASCII are not supported."
    } else {
        return Ok(());
    };
    let name = name.to_owned();
    Err(SecurityGroupError::Name { name, reason })
}

fn check_description(text: Option<&str>, what: &'static str) -> Result<(), SecurityGroupError> {
    match text.is_none_or(|text| is_plain(text, DESCRIPTION)) {
        true => Ok(()),
        false => Err(SecurityGroupError::Description { what }),
    }
}

/// What a new group allows: everything that leaves, in the families that the VPC has (facts S2).
fn everything_out(vpc: &Vpc) -> Vec<RuleSpec> {
    let mut peers = vec![Peer::ANY_IPV4];
    if !vpc.ipv6_cidr_blocks.is_empty() {
        peers.push(Peer::ANY_IPV6);
    }
    let rule = |peer| RuleSpec::new(Direction::Egress, Traffic::All, peer);
    peers.into_iter().map(|peer| rule(PeerRef::from(peer))).collect()
}

impl From<Peer> for PeerRef {
    fn from(peer: Peer) -> Self {
        match peer {
            Peer::Cidr(net) => Self::Cidr(net),
            Peer::PrefixList(list) => Self::PrefixList(list.into()),
            Peer::Group(group) => Self::Group(group.into()),
        }
    }
}

impl From<&SecurityGroupRule> for RuleSpec {
    fn from(rule: &SecurityGroupRule) -> Self {
        Self {
            direction: rule.direction,
            traffic: rule.traffic,
            peer: rule.peer.into(),
            description: rule.description.clone(),
            tags: rule.tags.clone(),
        }
    }
}

impl Command for CreateSecurityGroup {
    type Outcome = SecurityGroup;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<SecurityGroup, ModelError> {
        let vpc = edit.vpc(&self.vpc)?.clone();
        let count = edit.security_groups.values().filter(|group| group.vpc_id == vpc.id);
        if Limits::reached(edit.limits.security_groups_per_vpc, count.count()) {
            let text = "The maximum number of security groups has been reached.";
            let code = "SecurityGroupLimitExceeded";
            return Err(SecurityGroupError::Limit { code, text }.into());
        }
        edit.security_group_names.check(self.name.as_deref(), None)?;
        let group_name = self.group_name.or_else(|| self.name.clone());
        let group_name = group_name.ok_or(SecurityGroupError::NoName)?;
        check_group_name(&group_name)?;
        let description = self.description.unwrap_or_else(|| group_name.clone());
        check_description(Some(&description), "security group")?;
        if edit.group_names.contains_key(&(vpc.id, group_name.clone())) {
            let name = group_name;
            return Err(SecurityGroupError::Duplicate { name, vpc: vpc.id }.into());
        }
        let group = SecurityGroup {
            id: fresh_id(edit.rng, |id| edit.network.security_groups.contains_key(&id)),
            name: self.name,
            vpc_id: vpc.id,
            group_name,
            description,
            rules: Vec::new(),
            tags: self.tags,
        };
        let id = group.id;
        // A rule may name the group itself.
        edit.create(group);
        let egress = self.egress.unwrap_or_else(|| everything_out(&vpc));
        edit.set_rules(id, Some(self.ingress), Some(egress))?;
        edit.group(id).cloned()
    }
}

impl Command for ModifySecurityGroup {
    type Outcome = SecurityGroup;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<SecurityGroup, ModelError> {
        let before = edit.security_group(&self.group)?.clone();
        let id = before.id;
        if let Some(name) = &self.name {
            edit.security_group_names.check(name.as_deref(), Some(id))?;
        }
        let after = SecurityGroup {
            name: self.name.unwrap_or_else(|| before.name.clone()),
            tags: self.tags.unwrap_or_else(|| before.tags.clone()),
            ..before.clone()
        };
        edit.replace(before, after);
        edit.set_rules(id, self.ingress, self.egress)?;
        edit.group(id).cloned()
    }
}

impl Command for DeleteSecurityGroup {
    type Outcome = SecurityGroup;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<SecurityGroup, ModelError> {
        let group = edit.security_group(&self.0)?.clone();
        let id = group.id;
        if group.is_default() {
            return Err(SecurityGroupError::Default { id }.into());
        }
        // Facts S12: an interface, or a group of the same VPC. A rule of another VPC becomes stale (facts S16).
        let naming = edit.naming_groups(Peer::Group(id));
        let naming = naming.filter(|other| other.id != id && other.vpc_id == group.vpc_id);
        let members = edit.members(id).map(|interface| interface.to_string());
        let dependents: Vec<String> = members.chain(naming.map(|other| other.id.to_string())).collect();
        if !dependents.is_empty() {
            let dependents = dependents.join(", ");
            return Err(SecurityGroupError::InUse { id, dependents }.into());
        }
        edit.delete(group.clone());
        Ok(group)
    }
}

impl Command for AuthorizeRules {
    type Outcome = Vec<SecurityGroupRule>;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Vec<SecurityGroupRule>, ModelError> {
        let before = edit.security_group(&self.group)?.clone();
        let mut after = before.clone();
        let mut added: Vec<SecurityGroupRule> = Vec::new();
        for spec in self.rules {
            let rule = edit.new_rule(before.vpc_id, spec)?;
            let like = |other: &SecurityGroupRule| other.is_like(rule.direction, rule.traffic, rule.peer);
            if before.rules.iter().any(like) {
                let (traffic, peer) = (rule.traffic, rule.peer);
                return Err(SecurityGroupError::RuleExists { traffic, peer }.into());
            }
            if added.iter().any(like) {
                return Err(SecurityGroupError::RuleTwice.into());
            }
            added.push(rule);
        }
        after.rules.extend(added.iter().cloned());
        edit.check_quota(&after)?;
        edit.replace(before, after);
        Ok(added)
    }
}

impl Command for RevokeRules {
    type Outcome = Vec<SecurityGroupRule>;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Vec<SecurityGroupRule>, ModelError> {
        let before = edit.security_group(&self.group)?.clone();
        let mut after = before.clone();
        let mut revoked = Vec::new();
        for named in &self.rules {
            let place = edit.place_of(&before, named, self.direction)?;
            let id = before.rules[place].id;
            // Named twice, by identifier and by what it allows: once is enough.
            if let Some(place) = after.rules.iter().position(|rule| rule.id == id) {
                revoked.push(after.rules.remove(place));
            }
        }
        edit.replace(before, after);
        Ok(revoked)
    }
}

impl Command for ModifyRules {
    type Outcome = Vec<SecurityGroupRule>;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Vec<SecurityGroupRule>, ModelError> {
        let before = edit.security_group(&self.group)?.clone();
        let mut after = before.clone();
        let mut changed = Vec::new();
        for (id, change) in self.rules {
            let place = edit.place_of(&before, &RuleRef::Id(id), None)?;
            let rule = &mut after.rules[place];
            let peer = edit.resolve_peer(before.vpc_id, &change.peer)?;
            // EC2 API, ModifySecurityGroupRules: the source type cannot be modified.
            if !same_kind(rule.peer, peer) {
                return Err(SecurityGroupError::PeerKind { rule: id }.into());
            }
            check_description(change.description.as_deref(), "rule")?;
            (rule.traffic, rule.peer, rule.description) = (change.traffic, peer, change.description);
            changed.push(place);
        }
        for place in &changed {
            let rule = &after.rules[*place];
            let mut like = after.rules.iter();
            if like.any(|other| other.id != rule.id && other.is_like(rule.direction, rule.traffic, rule.peer)) {
                let (traffic, peer) = (rule.traffic, rule.peer);
                return Err(SecurityGroupError::RuleExists { traffic, peer }.into());
            }
        }
        edit.check_quota(&after)?;
        let rules = changed.iter().map(|place| after.rules[*place].clone()).collect();
        edit.replace(before, after);
        Ok(rules)
    }
}

fn same_kind(a: Peer, b: Peer) -> bool {
    match (a, b) {
        (Peer::Cidr(a), Peer::Cidr(b)) => a.addr().is_ipv4() == b.addr().is_ipv4(),
        (Peer::PrefixList(_), Peer::PrefixList(_)) | (Peer::Group(_), Peer::Group(_)) => true,
        _ => false,
    }
}

impl Command for DescribeRules {
    type Outcome = Vec<SecurityGroupRule>;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Vec<SecurityGroupRule>, ModelError> {
        let before = edit.security_group(&self.group)?.clone();
        let mut after = before.clone();
        let mut rules = Vec::new();
        for (named, description) in self.rules {
            let description = description.filter(|text| !text.is_empty());
            check_description(description.as_deref(), "rule")?;
            let place = edit.place_of(&before, &named, Some(self.direction))?;
            after.rules[place].description = description;
            rules.push(after.rules[place].clone());
        }
        edit.replace(before, after);
        Ok(rules)
    }
}

impl Command for TagRule {
    type Outcome = SecurityGroupRule;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<SecurityGroupRule, ModelError> {
        let before = edit.group_of_rule(self.rule)?.clone();
        let mut after = before.clone();
        let place = edit.place_of(&before, &RuleRef::Id(self.rule), None)?;
        after.rules[place].tags = self.tags;
        let rule = after.rules[place].clone();
        edit.replace(before, after);
        Ok(rule)
    }
}

impl Edit<'_> {
    /// The group that a VPC is made with: all from itself comes in, everything leaves (facts S3).
    pub(in crate::model) fn create_default_group(&mut self, id: SecurityGroupId, vpc: &Vpc) -> Result<(), ModelError> {
        self.create(SecurityGroup {
            id,
            name: None,
            vpc_id: vpc.id,
            group_name: DEFAULT_GROUP.to_owned(),
            description: "default VPC security group".to_owned(),
            rules: Vec::new(),
            tags: Tags::new(),
        });
        let own = RuleSpec::new(Direction::Ingress, Traffic::All, PeerRef::Group(id.into()));
        self.set_rules(id, Some(vec![own]), Some(everything_out(vpc)))
    }

    /// What groups get when their VPC gets IPv6: those that allow all IPv4 out, and nothing else out, allow all IPv6 too.
    pub(in crate::model) fn let_ipv6_out(&mut self, vpc: VpcId) {
        let untouched = |group: &SecurityGroup| {
            let mut rules = group.rules_of(Direction::Egress);
            let first = rules.next();
            first.is_some_and(|rule| rule.is_like(Direction::Egress, Traffic::All, Peer::ANY_IPV4))
                && rules.next().is_none()
        };
        let groups: Vec<SecurityGroup> = self
            .security_groups
            .values()
            .filter(|group| group.vpc_id == vpc && untouched(group))
            .cloned()
            .collect();
        for before in groups {
            let mut after = before.clone();
            after.rules.push(SecurityGroupRule {
                id: fresh_id(self.rng, |id| self.network.group_rules.contains_key(&id)),
                direction: Direction::Egress,
                traffic: Traffic::All,
                peer: Peer::ANY_IPV6,
                description: None,
                tags: Tags::new(),
            });
            self.replace(before, after);
        }
    }

    /// A rule with an identifier of its own.
    fn new_rule(&mut self, vpc: VpcId, spec: RuleSpec) -> Result<SecurityGroupRule, ModelError> {
        check_description(spec.description.as_deref(), "rule")?;
        Ok(SecurityGroupRule {
            peer: self.resolve_peer(vpc, &spec.peer)?,
            id: fresh_id(self.rng, |id| self.network.group_rules.contains_key(&id)),
            direction: spec.direction,
            traffic: spec.traffic,
            description: spec.description,
            tags: spec.tags,
        })
    }

    /// Gives a group these rules and no others of the directions that are given. Those that it has already keep their
    /// identifiers and tags.
    fn set_rules(
        &mut self,
        id: SecurityGroupId,
        ingress: Option<Vec<RuleSpec>>,
        egress: Option<Vec<RuleSpec>>,
    ) -> Result<(), ModelError> {
        let before = self.group(id)?.clone();
        let given = |direction| match direction {
            Direction::Ingress => ingress.is_some(),
            Direction::Egress => egress.is_some(),
        };
        let kept = before.rules.iter().filter(|rule| !given(rule.direction));
        let mut rules: Vec<SecurityGroupRule> = kept.cloned().collect();
        for spec in ingress.into_iter().chain(egress).flatten() {
            let peer = self.resolve_peer(before.vpc_id, &spec.peer)?;
            let like = |rule: &&SecurityGroupRule| rule.is_like(spec.direction, spec.traffic, peer);
            if rules.iter().any(|rule| like(&rule)) {
                return Err(SecurityGroupError::RuleTwice.into());
            }
            let rule = match before.rules.iter().find(like) {
                Some(rule) => {
                    check_description(spec.description.as_deref(), "rule")?;
                    SecurityGroupRule {
                        description: spec.description,
                        ..rule.clone()
                    }
                }
                None => self.new_rule(before.vpc_id, spec)?,
            };
            rules.push(rule);
        }
        let after = SecurityGroup {
            rules,
            ..before.clone()
        };
        self.check_quota(&after)?;
        self.replace(before, after);
        Ok(())
    }

    /// The groups that an interface of a VPC is to have; the VPC's default group where none is named.
    pub(in crate::model) fn chosen_groups(
        &self,
        vpc: VpcId,
        named: &[ResourceRef<SecurityGroupId>],
    ) -> Result<Vec<SecurityGroupId>, ModelError> {
        let mut groups = Vec::with_capacity(named.len().max(1));
        for reference in named {
            let group = self.security_group_in(vpc, reference)?;
            if group.vpc_id != vpc {
                return Err(SecurityGroupError::ForeignGroup { group: group.id }.into());
            }
            if !groups.contains(&group.id) {
                groups.push(group.id);
            }
        }
        let most = self.limits.groups_per_interface.unwrap_or(MOST_GROUPS).min(MOST_GROUPS);
        if groups.len() > most {
            return Err(SecurityGroupError::TooManyGroups { most }.into());
        }
        if groups.is_empty() {
            groups.extend(self.default_group(vpc));
        }
        Ok(groups)
    }
}

impl Network {
    /// All security groups, by identifier.
    pub fn security_groups(&self) -> impl Iterator<Item = &SecurityGroup> {
        self.security_groups.values()
    }

    /// The security group behind a reference: an identifier, a name, or the name that one group alone has in its VPC.
    pub fn security_group(&self, reference: &ResourceRef<SecurityGroupId>) -> Result<&SecurityGroup, ModelError> {
        let name = match reference {
            ResourceRef::Id(id) => return self.security_groups.get(id).ok_or_else(|| not_found(reference)),
            ResourceRef::Name(name, _) => name,
        };
        if let Ok(id) = self.security_group_names.resolve(reference) {
            return self.group(id);
        }
        let called = self.vpcs.keys().filter_map(|vpc| self.called(*vpc, name));
        let called: Vec<SecurityGroupId> = called.collect();
        match called[..] {
            [] => Err(not_found(reference)),
            [id] => self.group(id),
            _ => {
                let ids: Vec<String> = called.iter().map(ToString::to_string).collect();
                let (name, ids) = (name.to_string(), ids.join(", "));
                Err(SecurityGroupError::Ambiguous { name, ids }.into())
            }
        }
    }

    /// The security group that a reference means to a resource of this VPC, whose own groups come first.
    pub fn security_group_in(
        &self,
        vpc: VpcId,
        reference: &ResourceRef<SecurityGroupId>,
    ) -> Result<&SecurityGroup, ModelError> {
        let named = self.security_group_names.resolve(reference);
        let named = named.ok().and_then(|id| self.security_groups.get(&id));
        if let Some(group) = named.filter(|group| group.vpc_id == vpc) {
            return Ok(group);
        }
        if let ResourceRef::Name(name, _) = reference
            && let Some(id) = self.called(vpc, name)
        {
            return self.group(id);
        }
        self.security_group(reference)
    }

    /// The group of a VPC that has this name in it.
    fn called(&self, vpc: VpcId, name: &str) -> Option<SecurityGroupId> {
        self.group_names.get(&(vpc, name.to_owned())).copied()
    }

    /// The group that a VPC was made with.
    pub fn default_group(&self, vpc: VpcId) -> Option<SecurityGroupId> {
        self.called(vpc, DEFAULT_GROUP)
    }

    /// A group by its identifier.
    pub fn group(&self, id: SecurityGroupId) -> Result<&SecurityGroup, ModelError> {
        self.security_groups.get(&id).ok_or_else(|| not_found(&id.into()))
    }

    /// The groups of an interface, in the order in which they were given; none if there is no such interface.
    pub fn groups_of(&self, interface: InterfaceId) -> &[SecurityGroupId] {
        let state = self.interfaces.get(&interface);
        state.map_or(&[], |state| &state.record.groups)
    }

    /// The interfaces that have a group, by identifier.
    pub fn members(&self, group: SecurityGroupId) -> impl Iterator<Item = InterfaceId> + '_ {
        self.group_members.get(&group).into_iter().flatten().copied()
    }

    /// The groups of which a rule names this peer.
    pub fn naming_groups(&self, peer: Peer) -> impl Iterator<Item = &SecurityGroup> {
        let names = move |group: &&SecurityGroup| group.rules.iter().any(|rule| rule.peer == peer);
        self.security_groups.values().filter(names)
    }

    /// The group that has a rule.
    pub fn group_of_rule(&self, rule: SecurityGroupRuleId) -> Result<&SecurityGroup, ModelError> {
        match self.group_rules.get(&rule) {
            Some(group) => self.group(*group),
            None => Err(SecurityGroupError::NoRuleId { rule }.into()),
        }
    }

    /// The rules of a group that name a group which is not there any more, or of a VPC that is not
    /// peered any more: they stay, and match nothing (facts S16).
    pub fn stale_rules<'n>(&'n self, group: &'n SecurityGroup) -> impl Iterator<Item = &'n SecurityGroupRule> {
        group.rules.iter().filter(|rule| match rule.peer {
            Peer::Group(named) => self
                .security_groups
                .get(&named)
                .is_none_or(|named| named.vpc_id != group.vpc_id && !self.are_peered(group.vpc_id, named.vpc_id)),
            Peer::Cidr(_) | Peer::PrefixList(_) => false,
        })
    }

    /// The peer behind a reference of a rule of this VPC.
    fn resolve_peer(&self, vpc: VpcId, peer: &PeerRef) -> Result<Peer, ModelError> {
        Ok(match peer {
            // What is written with host bits is canonicalised without a word (facts S9).
            PeerRef::Cidr(net) => Peer::Cidr(net.trunc()),
            PeerRef::PrefixList(list) => Peer::PrefixList(self.prefix_list(list)?.id),
            PeerRef::Group(reference) => {
                let group = self.security_group_in(vpc, reference)?;
                if group.vpc_id != vpc && !self.are_peered(vpc, group.vpc_id) {
                    return Err(SecurityGroupError::DifferentNetworks { group: group.id }.into());
                }
                Peer::Group(group.id)
            }
        })
    }

    /// Where in a group a rule stands.
    fn place_of(
        &self,
        group: &SecurityGroup,
        named: &RuleRef,
        direction: Option<Direction>,
    ) -> Result<usize, ModelError> {
        match named {
            RuleRef::Id(rule) => {
                let place = group.rules.iter().position(|other| other.id == *rule);
                let place = place.ok_or(SecurityGroupError::NoRuleId { rule: *rule })?;
                match direction.filter(|direction| group.rules[place].direction != *direction) {
                    Some(direction) => Err(SecurityGroupError::Direction { rule: *rule, direction }.into()),
                    None => Ok(place),
                }
            }
            RuleRef::Like(own, traffic, peer) => {
                let peer = self.resolve_peer(group.vpc_id, peer)?;
                let mut rules = group.rules.iter();
                let place = rules.position(|rule| rule.is_like(*own, *traffic, peer));
                Ok(place.ok_or(SecurityGroupError::NoRule)?)
            }
        }
    }

    /// How much of the quota a rule takes in each family: a prefix list as many as it may have entries (facts S10).
    fn weight(&self, rule: &SecurityGroupRule) -> (usize, usize) {
        match rule.peer {
            Peer::Cidr(IpNet::V4(_)) => (1, 0),
            Peer::Cidr(IpNet::V6(_)) => (0, 1),
            Peer::Group(_) => (1, 1),
            Peer::PrefixList(list) => self.list_weight(list),
        }
    }

    fn list_weight(&self, list: PrefixListId) -> (usize, usize) {
        let Some(list) = self.prefix_lists.get(&list) else {
            return (0, 0);
        };
        match list.is_ipv6() {
            false => (list.most_entries(), 0),
            true => (0, list.most_entries()),
        }
    }

    /// Refuses a group with more rules of a direction and family than there may be.
    pub(in crate::model) fn check_quota(&self, group: &SecurityGroup) -> Result<(), ModelError> {
        let Some(most) = self.limits.rules_per_group else {
            return Ok(());
        };
        for direction in [Direction::Ingress, Direction::Egress] {
            let weights = group.rules_of(direction).map(|rule| self.weight(rule));
            let (ipv4, ipv6) = weights.fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
            if ipv4.max(ipv6) > most {
                let text = "The maximum number of rules per security group has been reached.";
                let code = "RulesPerSecurityGroupLimitExceeded";
                return Err(SecurityGroupError::Limit { code, text }.into());
            }
        }
        Ok(())
    }
}
