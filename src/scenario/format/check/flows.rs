//! Checks the expectations about flow records: addresses, instances and drop reasons exist.

use std::net::IpAddr;

use serde_saphyr::Spanned;

use super::super::flows::FlowForm;
use super::Checker;
use crate::file::diagnostic::Mistake;
use crate::record::flow_log::FlowProtocol;

impl Checker<'_> {
    pub(super) fn flow(&mut self, flow: &Spanned<FlowForm>) {
        let place = flow.referenced;
        let flow = &flow.value;
        if let Some(from) = &flow.from {
            self.instance(from);
        }
        for address in [&flow.source, &flow.to].into_iter().flatten() {
            if let Some(filled) = self.fill(address)
                && filled.parse::<IpAddr>().is_err()
            {
                self.wrong(Mistake::at(
                    address.place(),
                    format!("`{filled}` is not an IP address, which a flow goes from and to"),
                ));
            }
        }
        if flow.port.is_some() && !matches!(flow.protocol, Some(FlowProtocol::Tcp | FlowProtocol::Udp)) {
            let mistake = Mistake::at(place, "a `port` is one of TCP or UDP");
            self.wrong(mistake.help("say which, as in `protocol: tcp`"));
        }
        self.interfaces_of(&flow.delivered_to);
        self.reasons_of(&flow.dropped);
        if flow.expects_nothing() {
            self.wrong(
                Mistake::at(place, "nothing is expected of this flow, so it could never fail")
                    .help("add `packets`, `delivered_to`, `dropped` or `answered`"),
            );
        }
    }
}
