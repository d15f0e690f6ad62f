//! `localvpc security-groups`, `network-acls` and `prefix-lists`: what may pass, and editing that a rule at a time.

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCompleter;
use serde_json::{Map, Value, json};

use super::filters::ListArguments;
use super::remote::{Output, answer_shown, encoded, failed, fetch, list};
use super::show::{ACL_ENTRIES, NETWORK_ACLS, PREFIX_ENTRIES, PREFIX_LISTS, SECURITY_GROUP_RULES, SECURITY_GROUPS};
use super::{Done, names};
use crate::api::Client;

/// Which way a rule looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    /// What comes in
    Ingress,
    /// What leaves
    Egress,
}

impl Way {
    const ALL: [Self; 2] = [Self::Ingress, Self::Egress];

    fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// The packets of a rule.
#[derive(Debug, Args)]
struct Packets {
    /// tcp, udp, icmp, icmpv6, all, or a number such as 112 for VRRP
    protocol: String,
    /// A destination port of TCP or UDP, or a range such as 8000-8080; all if left out
    #[arg(long)]
    ports: Option<String>,
    /// The ICMP type; all if left out
    #[arg(long)]
    icmp_type: Option<u8>,
    /// The ICMP code; all if left out
    #[arg(long, requires = "icmp_type")]
    icmp_code: Option<u8>,
}

impl Packets {
    fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::from_iter([("protocol".to_owned(), json!(self.protocol))]);
        fields.extend(self.ports.as_ref().map(|ports| ("ports".to_owned(), json!(ports))));
        fields.extend(self.icmp_type.map(|kind| ("icmp_type".to_owned(), json!(kind))));
        fields.extend(self.icmp_code.map(|code| ("icmp_code".to_owned(), json!(code))));
        fields
    }
}

/// Security groups, and what becomes of their rules.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct SecurityGroupArguments {
    /// What to do with a group; all are listed otherwise.
    #[command(subcommand)]
    action: Option<GroupAction>,
    #[command(flatten)]
    which: ListArguments,
}

#[derive(Debug, Subcommand)]
enum GroupAction {
    /// Show the rules of one group
    Show {
        /// The security group: identifier or name
        #[arg(add = ArgValueCompleter::new(names::security_groups))]
        group: String,
    },
    /// Make a group that lets everything out and nothing in
    Create {
        /// Its name
        name: String,
        /// Its VPC
        #[arg(long, add = ArgValueCompleter::new(names::vpcs))]
        vpc: String,
        /// Free text; its name if left out
        #[arg(long)]
        description: Option<String>,
    },
    /// Delete a group that nothing needs
    Delete {
        /// The security group: identifier or name
        #[arg(add = ArgValueCompleter::new(names::security_groups))]
        group: String,
    },
    /// Add a rule: what it matches may pass
    Authorize(RuleArguments),
    /// Take a rule away that allows exactly this
    Revoke(RuleArguments),
}

#[derive(Debug, Args)]
struct RuleArguments {
    /// The security group: identifier or name
    #[arg(add = ArgValueCompleter::new(names::security_groups))]
    group: String,
    /// Which way
    #[arg(value_enum)]
    way: Way,
    #[command(flatten)]
    packets: Packets,
    #[command(flatten)]
    peer: PeerArguments,
    /// Free text
    #[arg(long)]
    description: Option<String>,
}

/// The other side of a rule.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct PeerArguments {
    /// Addresses of the other side, such as 10.0.0.0/16 or ::/0
    #[arg(long)]
    cidr: Option<String>,
    /// The prefix list with the addresses of the other side
    #[arg(long, add = ArgValueCompleter::new(names::prefix_lists))]
    prefix_list: Option<String>,
    /// The security group of the interfaces on the other side
    #[arg(long = "group", value_name = "GROUP", add = ArgValueCompleter::new(names::security_groups))]
    other_group: Option<String>,
}

impl RuleArguments {
    fn body(&self) -> Value {
        let mut rule = self.packets.fields();
        let texts = [
            ("cidr", &self.peer.cidr),
            ("prefix_list", &self.peer.prefix_list),
            ("group", &self.peer.other_group),
            ("description", &self.description),
        ];
        for (name, text) in texts {
            rule.extend(text.as_ref().map(|text| (name.to_owned(), json!(text))));
        }
        json!({ self.way.name(): [rule] })
    }
}

/// Rows of both directions, each with its own.
fn both_ways(answer: &Value) -> Vec<Value> {
    let rows = Way::ALL.into_iter().flat_map(|way| {
        let rows = answer[way.name()].as_array().cloned().unwrap_or_default();
        rows.into_iter().map(move |mut row| {
            row["direction"] = json!(way.name());
            row
        })
    });
    rows.collect()
}

pub(super) async fn security_groups(client: &Client, output: Output, arguments: SecurityGroupArguments) -> Done {
    const PATH: &str = "/v1/security-groups";
    let place = |group: &str| format!("{PATH}/{}", encoded(group));
    let answer = match arguments.action {
        None => {
            return list(
                client,
                output,
                &arguments.which.of(PATH),
                "security_groups",
                &SECURITY_GROUPS,
            )
            .await;
        }
        Some(GroupAction::Show { group }) => client.get(&place(&group)).await,
        Some(GroupAction::Create { name, vpc, description }) => {
            let body = json!({ "name": name, "vpc": vpc, "description": description });
            client.post(PATH, &body).await
        }
        Some(GroupAction::Delete { group }) => {
            client.delete(&place(&group)).await.map_err(failed)?;
            return list(client, output, PATH, "security_groups", &SECURITY_GROUPS).await;
        }
        Some(GroupAction::Authorize(rule)) => {
            client
                .post(&format!("{}/rules", place(&rule.group)), &rule.body())
                .await
        }
        Some(GroupAction::Revoke(rule)) => {
            client
                .post(&format!("{}/revoke", place(&rule.group)), &rule.body())
                .await
        }
    };
    let answer = answer.map_err(failed)?;
    answer_shown(client, output, &answer, &both_ways(&answer), &SECURITY_GROUP_RULES).await
}

/// Network ACLs, and what becomes of their entries.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct NetworkAclArguments {
    /// What to do with an ACL; all are listed otherwise.
    #[command(subcommand)]
    action: Option<AclAction>,
    #[command(flatten)]
    which: ListArguments,
}

#[derive(Debug, Subcommand)]
enum AclAction {
    /// Show the entries of one network ACL
    Show {
        /// The network ACL: identifier or name
        #[arg(add = ArgValueCompleter::new(names::network_acls))]
        acl: String,
    },
    /// Make a network ACL that denies everything
    Create {
        /// Its name
        name: String,
        /// Its VPC
        #[arg(long, add = ArgValueCompleter::new(names::vpcs))]
        vpc: String,
    },
    /// Delete a network ACL that no subnet has
    Delete {
        /// The network ACL: identifier or name
        #[arg(add = ArgValueCompleter::new(names::network_acls))]
        acl: String,
    },
    /// Add an entry that lets packets pass, or put it in the place of the one that has its number
    Allow(EntryArguments),
    /// Add an entry that drops packets, or put it in the place of the one that has its number
    Deny(EntryArguments),
    /// Take an entry away
    Remove {
        /// The network ACL: identifier or name
        #[arg(add = ArgValueCompleter::new(names::network_acls))]
        acl: String,
        /// Which way
        #[arg(value_enum)]
        way: Way,
        /// Its number
        number: u16,
    },
    /// Give a subnet this network ACL
    Associate {
        /// The network ACL: identifier or name
        #[arg(add = ArgValueCompleter::new(names::network_acls))]
        acl: String,
        /// The subnet: identifier or name
        #[arg(add = ArgValueCompleter::new(names::subnets))]
        subnet: String,
    },
}

#[derive(Debug, Args)]
struct EntryArguments {
    /// The network ACL: identifier or name
    #[arg(add = ArgValueCompleter::new(names::network_acls))]
    acl: String,
    /// Which way
    #[arg(value_enum)]
    way: Way,
    /// Its number, 1 to 32766: entries are tried in their order
    number: u16,
    #[command(flatten)]
    packets: Packets,
    /// Addresses of the other side, such as 0.0.0.0/0
    #[arg(long)]
    cidr: String,
}

pub(super) async fn network_acls(client: &Client, output: Output, arguments: NetworkAclArguments) -> Done {
    const PATH: &str = "/v1/network-acls";
    let place = |acl: &str| format!("{PATH}/{}", encoded(acl));
    let entry = |acl: &str, way: Way, number: u16| format!("{}/{}/{number}", place(acl), way.name());
    let put = async |action: &str, given: &EntryArguments| {
        let mut body = given.packets.fields();
        body.insert("action".to_owned(), json!(action));
        body.insert("cidr".to_owned(), json!(given.cidr));
        client.put(&entry(&given.acl, given.way, given.number), &body).await
    };
    let answer = match arguments.action {
        None => return list(client, output, &arguments.which.of(PATH), "network_acls", &NETWORK_ACLS).await,
        Some(AclAction::Show { acl }) => client.get(&place(&acl)).await,
        Some(AclAction::Create { name, vpc }) => client.post(PATH, &json!({ "name": name, "vpc": vpc })).await,
        Some(AclAction::Delete { acl }) => {
            client.delete(&place(&acl)).await.map_err(failed)?;
            return list(client, output, PATH, "network_acls", &NETWORK_ACLS).await;
        }
        Some(AclAction::Allow(given)) => put("allow", &given).await,
        Some(AclAction::Deny(given)) => put("deny", &given).await,
        Some(AclAction::Remove { acl, way, number }) => {
            client.delete(&entry(&acl, way, number)).await.map_err(failed)?;
            client.get(&place(&acl)).await
        }
        Some(AclAction::Associate { acl, subnet }) => {
            let path = format!("{}/associations", place(&acl));
            client.post(&path, &json!({ "subnet": subnet })).await.map_err(failed)?;
            return list(client, output, PATH, "network_acls", &NETWORK_ACLS).await;
        }
    };
    let answer = answer.map_err(failed)?;
    answer_shown(client, output, &answer, &both_ways(&answer), &ACL_ENTRIES).await
}

/// Prefix lists, and what becomes of their entries.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct PrefixListArguments {
    /// What to do with a list; all are listed otherwise.
    #[command(subcommand)]
    action: Option<ListAction>,
    #[command(flatten)]
    which: ListArguments,
}

#[derive(Debug, Subcommand)]
enum ListAction {
    /// Show the entries of one prefix list
    Show {
        /// The prefix list: identifier or name
        #[arg(add = ArgValueCompleter::new(names::prefix_lists))]
        list: String,
    },
    /// Make a prefix list
    Create {
        /// Its name
        name: String,
        /// How many entries it may have, 1 to 1000; as many as it has if left out
        #[arg(long)]
        max_entries: Option<u32>,
        /// Its addresses, all of one family
        #[arg(required = true)]
        cidrs: Vec<String>,
    },
    /// Delete a prefix list that no rule names
    Delete {
        /// The prefix list: identifier or name
        #[arg(add = ArgValueCompleter::new(names::prefix_lists))]
        list: String,
    },
    /// Add addresses, as a new version
    Add {
        /// The prefix list: identifier or name
        #[arg(add = ArgValueCompleter::new(names::prefix_lists))]
        list: String,
        /// The addresses
        #[arg(required = true)]
        cidrs: Vec<String>,
    },
    /// Take addresses away, as a new version
    Remove {
        /// The prefix list: identifier or name
        #[arg(add = ArgValueCompleter::new(names::prefix_lists))]
        list: String,
        /// The addresses
        #[arg(required = true)]
        cidrs: Vec<String>,
    },
    /// Take an earlier version back, as a new version
    Restore {
        /// The prefix list: identifier or name
        #[arg(add = ArgValueCompleter::new(names::prefix_lists))]
        list: String,
        /// The version whose entries it gets
        version: u64,
    },
}

pub(super) async fn prefix_lists(client: &Client, output: Output, arguments: PrefixListArguments) -> Done {
    const PATH: &str = "/v1/prefix-lists";
    let place = |list: &str| format!("{PATH}/{}", encoded(list));
    let entries = |cidrs: &[String]| -> Vec<Value> { cidrs.iter().map(|cidr| json!({ "cidr": cidr })).collect() };
    let answer = match arguments.action {
        None => return list(client, output, &arguments.which.of(PATH), "prefix_lists", &PREFIX_LISTS).await,
        Some(ListAction::Show { list }) => client.get(&place(&list)).await,
        Some(ListAction::Create {
            name,
            max_entries,
            cidrs,
        }) => {
            let body = json!({ "name": name, "max_entries": max_entries, "entries": entries(&cidrs) });
            client.post(PATH, &body).await
        }
        Some(ListAction::Delete { list: name }) => {
            client.delete(&place(&name)).await.map_err(failed)?;
            return list(client, output, PATH, "prefix_lists", &PREFIX_LISTS).await;
        }
        Some(ListAction::Add { list, cidrs }) => client.patch(&place(&list), &json!({ "add": entries(&cidrs) })).await,
        Some(ListAction::Remove { list, cidrs }) => client.patch(&place(&list), &json!({ "remove": cidrs })).await,
        Some(ListAction::Restore { list, version }) => {
            let now = client.get(&place(&list)).await.map_err(failed)?;
            let body = json!({ "previous_version": version, "current_version": now["version"] });
            client.post(&format!("{}/restore", place(&list)), &body).await
        }
    };
    let answer = answer.map_err(failed)?;
    let rows = answer["entries"].as_array().cloned().unwrap_or_default();
    answer_shown(client, output, &answer, &rows, &PREFIX_ENTRIES).await
}

/// Gives an interface these security groups and no others.
pub(super) async fn set_groups(client: &Client, output: Output, interface: &str, groups: &[String]) -> Done {
    let path = format!("/v1/interfaces/{}", encoded(interface));
    client
        .patch(&path, &json!({ "groups": groups }))
        .await
        .map_err(failed)?;
    let answer = client.get(&path).await.map_err(failed)?;
    let all = fetch(client, "/v1/security-groups", "security_groups").await?;
    let own = |group: &&Value| {
        answer["group_ids"]
            .as_array()
            .is_some_and(|ids| ids.contains(&group["id"]))
    };
    let rows: Vec<Value> = all.iter().filter(own).cloned().collect();
    answer_shown(client, output, &answer, &rows, &SECURITY_GROUPS).await
}
