//! Draws a network: VPCs with their subnets, interfaces and instances, and the routes whose target is an interface.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::text::escape;
use crate::topology::{Layout, Target};

/// A network, reduced to what is drawn.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = NetworkGraph)]
pub struct Graph {
    /// The VPCs.
    pub vpcs: Vec<VpcNode>,
    /// Routes to interfaces.
    pub routes: Vec<RouteEdge>,
}

/// A VPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = GraphVpc)]
pub struct VpcNode {
    /// Its name.
    pub name: String,
    /// Its address blocks.
    pub blocks: Vec<String>,
    /// Its subnets.
    pub subnets: Vec<SubnetNode>,
}

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = GraphSubnet)]
pub struct SubnetNode {
    /// Its name.
    pub name: String,
    /// Its address blocks.
    pub blocks: Vec<String>,
    /// The route table that it is associated with; the VPC's main one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_table: Option<String>,
    /// Its interfaces.
    pub interfaces: Vec<InterfaceNode>,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = GraphInterface)]
pub struct InterfaceNode {
    /// Its name.
    pub name: String,
    /// Its instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Its addresses and prefixes.
    pub addresses: Vec<String>,
}

/// A route of a table to an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = GraphRoute)]
pub struct RouteEdge {
    /// The route table.
    pub table: String,
    /// The subnets associated with the table.
    pub subnets: Vec<String>,
    /// The destination.
    pub to: String,
    /// The interface.
    pub via: String,
}

impl Graph {
    /// The graph of a network.
    pub fn of(layout: &Layout) -> Self {
        let vpcs = layout.vpcs.iter().map(|(name, vpc)| VpcNode {
            name: name.clone(),
            blocks: words(vpc.cidr_blocks.iter())
                .chain(words(vpc.ipv6_cidr_blocks.iter()))
                .collect(),
            subnets: subnets(layout, name),
        });
        let main_of = |vpc: &str| {
            let explicit = |subnet: &String| layout.route_tables.values().any(|table| table.subnets.contains(subnet));
            let of_vpc = layout.subnets.iter().filter(move |(_, subnet)| subnet.vpc == vpc);
            of_vpc
                .map(|(name, _)| name.clone())
                .filter(move |name| !explicit(name))
                .collect::<Vec<_>>()
        };
        let routes = layout.route_tables.iter().flat_map(|(name, table)| {
            let mut subnets: Vec<String> = table.subnets.iter().cloned().collect();
            if table.main {
                subnets.extend(main_of(&table.vpc));
            }
            table.routes.iter().filter_map(move |(to, target)| match target {
                Target::Interface(via) => Some(RouteEdge {
                    table: name.clone(),
                    subnets: subnets.clone(),
                    to: to.to_string(),
                    via: via.clone(),
                }),
                Target::Local | Target::Blackhole | Target::Gateway(..) => None,
            })
        });
        Self {
            vpcs: vpcs.collect(),
            routes: routes.collect(),
        }
    }

    /// As Graphviz DOT.
    pub fn dot(&self) -> String {
        // Writing to a String cannot fail.
        let mut dot =
            String::from("digraph network {\n  rankdir=LR; node [shape=box, fontname=sans]; graph [fontname=sans];\n");
        for vpc in &self.vpcs {
            let _ = writeln!(
                dot,
                "  subgraph \"cluster vpc {0}\" {{ label={1};",
                bare(&vpc.name),
                quoted(&vpc.label())
            );
            for subnet in &vpc.subnets {
                let label = quoted(&subnet.label());
                let _ = writeln!(
                    dot,
                    "    subgraph \"cluster subnet {}\" {{ label={label};",
                    bare(&subnet.name)
                );
                let _ = writeln!(
                    dot,
                    "      {} [shape=point, style=invis];",
                    quoted(&format!("subnet {}", subnet.name))
                );
                for interface in &subnet.interfaces {
                    let (node, label) = (quoted(&interface.name), quoted(&interface.label("\n")));
                    let _ = writeln!(dot, "      {node} [label={label}];");
                }
                dot.push_str("    }\n");
            }
            dot.push_str("  }\n");
        }
        for route in &self.routes {
            for subnet in &route.subnets {
                let (from, to) = (quoted(&format!("subnet {subnet}")), quoted(&route.via));
                let _ = writeln!(dot, "  {from} -> {to} [label={}, style=dashed];", quoted(&route.to));
            }
        }
        dot + "}\n"
    }

    /// As Mermaid.
    pub fn mermaid(&self) -> String {
        let mut mermaid = String::from("flowchart LR\n");
        let mut numbers: Vec<&str> = Vec::new();
        // Names may contain Mermaid syntax, so nodes are numbered.
        for vpc in &self.vpcs {
            let _ = writeln!(mermaid, "  subgraph v{}[\"{}\"]", numbers.len(), text(&vpc.label()));
            numbers.push(&vpc.name);
            for subnet in &vpc.subnets {
                let _ = writeln!(
                    mermaid,
                    "    subgraph {}[\"{}\"]",
                    node("s", &subnet.name),
                    text(&subnet.label())
                );
                for interface in &subnet.interfaces {
                    let label = text(&interface.label("<br>"));
                    let _ = writeln!(mermaid, "      {}[\"{label}\"]", node("i", &interface.name));
                }
                mermaid.push_str("    end\n");
            }
            mermaid.push_str("  end\n");
        }
        for route in &self.routes {
            for subnet in &route.subnets {
                let (from, to) = (node("s", subnet), node("i", &route.via));
                let _ = writeln!(mermaid, "  {from} -. \"{}\" .-> {to}", text(&route.to));
            }
        }
        mermaid
    }

    /// As SVG.
    pub fn svg(&self) -> String {
        drawing(self)
    }
}

fn subnets(layout: &Layout, vpc: &str) -> Vec<SubnetNode> {
    let of_vpc = layout.subnets.iter().filter(|(_, subnet)| subnet.vpc == vpc);
    of_vpc
        .map(|(name, subnet)| SubnetNode {
            name: name.clone(),
            blocks: words(subnet.cidr_block.iter())
                .chain(words(subnet.ipv6_cidr_block.iter()))
                .collect(),
            route_table: layout
                .route_tables
                .iter()
                .find(|(_, table)| table.subnets.contains(name))
                .map(|(table, _)| table.clone()),
            interfaces: interfaces(layout, name),
        })
        .collect()
}

fn interfaces(layout: &Layout, subnet: &str) -> Vec<InterfaceNode> {
    let of_subnet = layout
        .interfaces
        .iter()
        .filter(|(_, interface)| interface.subnet == subnet);
    of_subnet
        .map(|(name, interface)| {
            let primary = layout
                .instances
                .iter()
                .find(|(_, instance)| instance.interface == *name);
            InterfaceNode {
                name: name.clone(),
                instance: primary
                    .map(|(instance, _)| instance.clone())
                    .or_else(|| interface.attached_to.clone()),
                addresses: words(interface.ipv4.iter().flatten())
                    .chain(words(interface.ipv6.iter().flatten()))
                    .chain(words(interface.prefixes.iter()))
                    .collect(),
            }
        })
        .collect()
}

fn words<'a, T: std::fmt::Display + 'a>(items: impl Iterator<Item = &'a T>) -> impl Iterator<Item = String> {
    items.map(ToString::to_string)
}

impl VpcNode {
    fn label(&self) -> String {
        format!("{} {}", self.name, self.blocks.join(" "))
    }
}

impl SubnetNode {
    fn label(&self) -> String {
        let table = self.route_table.as_ref().map(|table| format!(", routes {table}"));
        format!("{} {}{}", self.name, self.blocks.join(" "), table.unwrap_or_default())
    }
}

impl InterfaceNode {
    /// Its name, its instance where that has another name, and its addresses.
    fn label(&self, line_break: &str) -> String {
        let of = self.instance.as_ref().filter(|instance| **instance != self.name);
        let of = of.map_or_else(String::new, |instance| format!(" of {instance}"));
        std::iter::once(format!("{}{of}", self.name))
            .chain(self.addresses.iter().cloned())
            .collect::<Vec<_>>()
            .join(line_break)
    }
}

fn bare(name: &str) -> String {
    name.replace(['"', '\\'], "_")
}

/// A quoted string of DOT.
fn quoted(text: &str) -> String {
    format!(
        "\"{}\"",
        text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
    )
}

/// A quoted text of Mermaid.
fn text(text: &str) -> String {
    text.replace('"', "#quot;")
}

/// A node identifier of Mermaid: letters and digits, and any other character by its number.
fn node(kind: &str, name: &str) -> String {
    let plain = |c: char| match c {
        c if c.is_ascii_alphanumeric() => c.to_string(),
        c => format!("_{:x}_", u32::from(c)),
    };
    format!("{kind}_{}", name.chars().map(plain).collect::<String>())
}

/// Sizes in the drawing.
const HOST: (usize, usize) = (200, 24);
const GAP: usize = 14;
const LINE: usize = 16;
const HEAD: usize = 24;

/// Subnets are side by side in the box of their VPC, interfaces below each other in that of their subnet.
fn drawing(graph: &Graph) -> String {
    let mut body = String::new();
    let mut places: Vec<(String, usize, usize)> = Vec::new();
    let (mut y, mut width) = (GAP, 0);
    for vpc in &graph.vpcs {
        let mut x = 2 * GAP;
        let mut tallest = 0;
        let mut inner = String::new();
        for subnet in &vpc.subnets {
            let height = subnet_box(&mut inner, &mut places, subnet, x, y + HEAD + GAP);
            tallest = tallest.max(height);
            x += HOST.0 + 3 * GAP;
        }
        let vpc_width = (x - GAP).max(8 * vpc.label().chars().count() + 2 * GAP);
        let height = HEAD + 2 * GAP + tallest;
        // Writing to a String cannot fail.
        let _ = writeln!(
            body,
            "<rect class=\"vpc\" x=\"{GAP}\" y=\"{y}\" width=\"{vpc_width}\" height=\"{height}\" rx=\"6\"/><text x=\"{}\" y=\"{}\" class=\"name\">{}</text>",
            2 * GAP,
            y + HEAD - 6,
            escape(&vpc.label())
        );
        body += &inner;
        width = width.max(vpc_width + 2 * GAP);
        y += height + GAP;
    }
    for route in &graph.routes {
        let Some((_, x, at)) = places.iter().find(|(name, ..)| *name == route.via) else {
            continue;
        };
        for subnet in &route.subnets {
            let from = places.iter().find(|(name, ..)| *name == format!("subnet {subnet}"));
            let Some((_, from_x, from_y)) = from else { continue };
            let _ = writeln!(
                body,
                "<path class=\"box\" stroke-dasharray=\"4 3\" d=\"M{from_x},{from_y} C{from_x},{} {x},{} {x},{at}\"><title>{}: {} via {}</title></path>",
                from_y + 40,
                at.saturating_sub(40),
                escape(&route.table),
                escape(&route.to),
                escape(&route.via)
            );
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {y}\" width=\"{width}\" height=\"{y}\" font-family=\"sans-serif\" font-size=\"12\" role=\"img\" aria-label=\"network\">\n<style>.vpc{{fill:#f4f4f4;stroke:#777}}.subnet{{fill:#cfe3f7;stroke:#777}}.host{{fill:#fff;stroke:#222}}.box{{fill:none;stroke:#c60}}.name{{font-weight:bold}}</style>\n{body}</svg>\n"
    )
}

/// Draws a subnet and records the positions of its interfaces; returns its height.
fn subnet_box(
    body: &mut String,
    places: &mut Vec<(String, usize, usize)>,
    subnet: &SubnetNode,
    x: usize,
    top: usize,
) -> usize {
    let mut inner = String::new();
    let head = HEAD + LINE * subnet.blocks.len() + LINE * usize::from(subnet.route_table.is_some());
    let mut y = top + head;
    places.push((format!("subnet {}", subnet.name), x + HOST.0 / 2, top + head));
    for interface in &subnet.interfaces {
        let label = interface.label("\n");
        let lines: Vec<&str> = label.lines().collect();
        let height = HOST.1 + LINE * (lines.len() - 1);
        // Writing to a String cannot fail.
        let _ = writeln!(
            inner,
            "<rect class=\"host\" x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{height}\" rx=\"4\"/>",
            HOST.0
        );
        for (number, line) in lines.iter().enumerate() {
            let class = if number == 0 { " class=\"name\"" } else { "" };
            let at = y + LINE + number * LINE;
            let _ = writeln!(inner, "<text x=\"{}\" y=\"{at}\"{class}>{}</text>", x + 8, escape(line));
        }
        places.push((interface.name.clone(), x + HOST.0 / 2, y));
        y += height + GAP;
    }
    let height = (y - top).max(head + GAP);
    let _ = writeln!(
        body,
        "<rect class=\"subnet\" x=\"{}\" y=\"{top}\" width=\"{}\" height=\"{height}\" rx=\"4\"/>",
        x - GAP / 2,
        HOST.0 + GAP
    );
    let table = subnet.route_table.as_ref().map(|table| format!("routes {table}"));
    let head = std::iter::once(subnet.name.clone())
        .chain(subnet.blocks.iter().cloned())
        .chain(table);
    for (number, line) in head.enumerate() {
        let class = if number == 0 { " class=\"name\"" } else { "" };
        let at = top + LINE + number * LINE;
        let _ = writeln!(body, "<text x=\"{}\" y=\"{at}\"{class}>{}</text>", x, escape(&line));
    }
    body.push_str(&inner);
    height
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::template::Scope;

    fn graph() -> Graph {
        let text = "
vpcs: { main: { cidr_blocks: [10.0.0.0/16] } }
subnets:
  front: { vpc: main, cidr_block: 10.0.1.0/24 }
  back: { vpc: main, cidr_block: 10.0.2.0/24 }
instances:
  web: { subnet: front, ipv4: [10.0.1.10] }
  db: { subnet: back, ipv4: [10.0.2.10] }
interfaces:
  spare: { subnet: back, ipv4: [10.0.2.20], attached_to: db }
route_tables:
  out: { vpc: main, subnets: [back], routes: [{ to: 192.0.2.0/24, via: web }] }
";
        let topology = crate::topology::format::read_topology("t.yaml", text).unwrap();
        Graph::of(&Layout::desired(&topology, &Scope::default()).unwrap())
    }

    #[test]
    fn every_language_has_each_subnet_interface_and_route() {
        let graph = graph();
        for drawing in [graph.svg(), graph.dot(), graph.mermaid()] {
            for part in [
                "main",
                "10.0.0.0/16",
                "front",
                "back",
                "web",
                "10.0.1.10",
                "spare of db",
                "192.0.2.0/24",
            ] {
                assert!(drawing.contains(part), "{part}: {drawing}");
            }
        }
        assert_eq!(graph.routes.len(), 1);
        assert_eq!(
            (graph.routes[0].subnets.as_slice(), graph.routes[0].via.as_str()),
            (&["back".to_owned()][..], "web")
        );
    }

    #[test]
    fn names_are_no_syntax() {
        let mut graph = graph();
        graph.vpcs[0].subnets[0].interfaces[0].name = "a\"]<b".to_owned();
        assert!(graph.dot().contains("\"a\\\"]<b"), "{}", graph.dot());
        assert!(
            graph.mermaid().contains("i_a_22__5d__3c_b[\"a#quot;]<b"),
            "{}",
            graph.mermaid()
        );
        assert!(graph.svg().contains("a&quot;]&lt;b"), "{}", graph.svg());
    }
}
