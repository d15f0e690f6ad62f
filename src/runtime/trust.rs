//! Lets the programs of a host find the VPC's endpoint of the API under the names that are compiled into AWS clients, and trust
//! it: names, certificates, region and credentials stand where such clients look, and no command takes an option.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::datapath::{SERVICES_IPV4, SERVICES_IPV6};
use crate::lab::HostFile;
use crate::model::region::api_names;
use crate::services::Authority;

/// The bundle of Debian, which is the one of its Python and its curl.
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The authority alone.
const OWN: &str = "/etc/ssl/localvpc-ca.pem";

/// What a host has to know.
pub(super) struct Trust<'a> {
    pub(super) region: &'a str,
    pub(super) authority: &'a Authority,
    /// Whether it reaches the services by IPv4.
    pub(super) ipv4: bool,
    /// Whether the metadata service gives it credentials.
    pub(super) has_role: bool,
}

impl Trust<'_> {
    /// The files of a host.
    pub(super) fn files(&self) -> Vec<HostFile> {
        let names = api_names(self.region).join(" ");
        let address = match self.ipv4 {
            true => SERVICES_IPV4[3].to_string(),
            false => SERVICES_IPV6[3].to_string(),
        };
        let file = |path, text, behind| HostFile { path, text, behind };
        // Any key is taken; where there is a role its own are, and no key of the machine's user gets in here.
        let credentials = match self.has_role {
            true => String::new(),
            false => "[default]\naws_access_key_id = localvpc\naws_secret_access_key = localvpc\n".to_owned(),
        };
        let mut profile = String::new();
        for (name, value) in self.environment() {
            // Writing to memory does not fail.
            let _ = writeln!(profile, "export {name}={value}");
        }
        vec![
            file("/etc/hosts", format!("{address} {names}\n"), true),
            file(BUNDLE, self.authority.certificate.to_string(), true),
            file(OWN, self.authority.certificate.to_string(), false),
            file(
                "/root/.aws/config",
                format!("[default]\nregion = {}\nca_bundle = {BUNDLE}\n", self.region),
                false,
            ),
            file("/root/.aws/credentials", credentials, false),
            file("/etc/profile.d/localvpc-aws.sh", profile, false),
        ]
    }

    /// The variables of its commands: clients that bring certificates of their own need to be pointed to others.
    pub(super) fn environment(&self) -> BTreeMap<String, String> {
        [
            ("AWS_DEFAULT_REGION", self.region),
            ("AWS_REGION", self.region),
            ("AWS_CA_BUNDLE", BUNDLE),
            ("REQUESTS_CA_BUNDLE", BUNDLE),
            ("SSL_CERT_FILE", BUNDLE),
            ("NODE_EXTRA_CA_CERTS", OWN),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }
}
