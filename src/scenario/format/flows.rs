//! Defines the expectations about the switch's flow records, as written: which packets, in the terms of VPC flow logs,
//! and their verdicts.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;
use utoipa::ToSchema;

use crate::record::flow_log::FlowProtocol;

use crate::file::template::Scope;
use crate::file::values::{Count, Text};

/// Expectations about the switch's flow records. Each packet is counted once, at its ingress. A field that is left out
/// matches all packets.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FlowExpectation)]
pub struct FlowForm {
    /// The instance that sent them.
    #[schema(value_type = Option<String>)]
    pub from: Option<Spanned<String>>,
    /// Their source address.
    pub source: Option<Text>,
    /// Their destination address.
    pub to: Option<Text>,
    /// Their protocol.
    pub protocol: Option<FlowProtocol>,
    /// Their destination port, of TCP or UDP.
    pub port: Option<u16>,
    /// Number of packets, whatever their verdict.
    pub packets: Option<Count>,
    /// Delivered packets, by instance.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, Count>)]
    pub delivered_to: BTreeMap<String, Spanned<Count>>,
    /// Dropped packets, by drop reason.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, Count>)]
    pub dropped: BTreeMap<String, Spanned<Count>>,
    /// Packets answered by the VPC.
    pub answered: Option<Count>,
}

impl FlowForm {
    /// Whether it selects packets without an expectation.
    pub(super) fn expects_nothing(&self) -> bool {
        let counts = [self.packets, self.answered];
        counts.iter().all(Option::is_none) && self.delivered_to.is_empty() && self.dropped.is_empty()
    }

    /// The selection, for messages.
    pub fn shown(&self, scope: &Scope) -> String {
        let text = |text: &Text| text.fill(scope).unwrap_or_else(|_| text.written().to_owned());
        let protocol = self.protocol.map(|protocol| format!("{protocol:?}").to_uppercase());
        let parts: [(&str, Option<String>); 5] = [
            ("", protocol),
            ("sent by ", self.from.as_ref().map(|from| from.value.clone())),
            ("from ", self.source.as_ref().map(text)),
            ("to ", self.to.as_ref().map(text)),
            ("port ", self.port.map(|port| port.to_string())),
        ];
        let parts = parts
            .into_iter()
            .filter_map(|(word, part)| Some(format!("{word}{}", part?)));
        let parts = parts.collect::<Vec<_>>().join(" ");
        if parts.is_empty() {
            "everything".to_owned()
        } else {
            parts
        }
    }
}
