//! Makes, takes back and describes changes of route tables, of their routes and associations.

use super::{Association, RouteChange, RouteEntry, RouteTableRecord};
use crate::model::change::{Effect, Entry, Record, Stored, created};
use crate::model::ids::RouteTableId;
use crate::model::naming::Names;
use crate::model::network::Network;

impl Record for RouteTableRecord {
    type Id = RouteTableId;

    fn id(&self) -> RouteTableId {
        self.id
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl Stored for RouteTableRecord {
    fn names(network: &mut Network) -> &mut Names<RouteTableId> {
        &mut network.route_table_names
    }

    fn put(network: &mut Network, before: Option<&Self>, after: Option<&Self>) {
        if let Some(after) = after {
            network.route_tables.insert(after.id, after.clone());
        } else if let Some(before) = before {
            network.route_tables.remove(&before.id);
        }
    }

    fn all(network: &Network) -> Vec<Self> {
        network.route_tables.values().cloned().collect()
    }
}

impl RouteChange {
    fn put(&self, network: &mut Network, entry: Option<RouteEntry>) {
        if let Some(table) = network.route_tables.get_mut(&self.table) {
            match entry {
                Some(entry) => drop(table.routes.insert(self.destination, entry)),
                None => drop(table.routes.remove(&self.destination)),
            }
        }
    }
}

impl Effect for RouteChange {
    fn apply(&self, network: &mut Network) {
        self.put(network, self.after);
    }

    fn revert(&self, network: &mut Network) {
        self.put(network, self.before);
    }

    fn is_empty(&self) -> bool {
        self.before == self.after
    }

    fn subject(&self) -> String {
        self.table.to_string()
    }

    fn inverse(&self) -> Self {
        Self {
            before: self.after,
            after: self.before,
            ..*self
        }
    }

    /// A table is made with its routes.
    fn creating(_: &Network) -> Vec<Self> {
        Vec::new()
    }

    fn entries(&self, network: &Network, entries: &mut Vec<Entry>) {
        let table = network.route_tables.get(&self.table).cloned();
        entries.push(Entry {
            path: self.table.to_string(),
            creating: table.map(|table| created(table).into()),
        });
    }
}

impl Association {
    fn put(self, network: &mut Network, table: Option<RouteTableId>) {
        if let Some(state) = network.subnets.get_mut(&self.subnet) {
            state.route_table = table;
        }
    }
}

impl Effect for Association {
    fn apply(&self, network: &mut Network) {
        self.put(network, self.after);
    }

    fn revert(&self, network: &mut Network) {
        self.put(network, self.before);
    }

    fn is_empty(&self) -> bool {
        self.before == self.after
    }

    fn subject(&self) -> String {
        self.subnet.to_string()
    }

    fn inverse(&self) -> Self {
        Self {
            before: self.after,
            after: self.before,
            ..*self
        }
    }

    fn creating(network: &Network) -> Vec<Self> {
        let associated = network.subnets.iter().filter(|(_, state)| state.route_table.is_some());
        associated
            .map(|(subnet, state)| Self {
                subnet: *subnet,
                before: None,
                after: state.route_table,
            })
            .collect()
    }

    fn entries(&self, _: &Network, entries: &mut Vec<Entry>) {
        let creating = self.after.map(|_| Self { before: None, ..*self }.into());
        entries.push(Entry {
            path: format!("association/{}", self.subnet),
            creating,
        });
    }
}
