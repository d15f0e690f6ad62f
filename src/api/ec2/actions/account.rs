//! Implements the actions on the account, which clients call first: identity, regions, zones and attributes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use super::render::ACCOUNT;
use crate::api::ec2::action::{Action, Answer, Filter};
use crate::api::ec2::describe::Selection;
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::identity::Identity;
use crate::api::ec2::request::printed;
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::control::Session;
use crate::model::region::{zone_id, zones_of};

/// The lifetime of a role's credentials by default (STS, AssumeRole, DurationSeconds).
const ROLE_SECONDS: i64 = 3600;
/// The permitted lifetimes (same page).
const ROLE_RANGE: std::ops::RangeInclusive<i64> = 900..=43_200;

/// Returns the caller's identity.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct GetCallerIdentity {}

impl Action for GetCallerIdentity {
    const NAME: &'static str = "GetCallerIdentity";
    const HELP: &'static str = "Says who calls";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        let (arn, user) = call.caller.unwrap_or(&Identity::Account).names();
        Ok(vec![
            ("Arn", Node::Text(arn)),
            ("UserId", Node::Text(user)),
            ("Account", Node::text(ACCOUNT)),
        ])
    }
}

/// Issues credentials of a role.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct AssumeRole {
    role_arn: String,
    role_session_name: String,
    duration_seconds: Option<i64>,
}

impl Action for AssumeRole {
    const NAME: &'static str = "AssumeRole";
    const HELP: &'static str = "Hands out credentials of a role; every role exists";

    fn run(self, call: &Call<'_>) -> Answer {
        let seconds = self.duration_seconds.unwrap_or(ROLE_SECONDS);
        if !ROLE_RANGE.contains(&seconds) {
            let message = format!("The requested DurationSeconds {seconds} is not between 900 and 43200");
            return Err(Ec2Error::new("ValidationError", message));
        }
        let role = self.role_arn.rsplit('/').next().unwrap_or_default().to_owned();
        if !self.role_arn.starts_with("arn:") || role.is_empty() {
            let message = format!("{} is invalid", printed(&self.role_arn));
            return Err(Ec2Error::new("ValidationError", message));
        }
        let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        let until = SystemTime::now().checked_add(seconds).unwrap_or_else(SystemTime::now);
        let session = Session {
            role,
            name: self.role_session_name,
            // What its instance may not do, a role that it assumes may not either.
            instance: call.caller.and_then(Identity::instance),
            expires: until.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            number: rand::random(),
        };
        let credentials = call.controller().role_secret().credentials(&session);
        let expiration = humantime::format_rfc3339_seconds(session.expiration());
        let (arn, user) = Identity::Session(session).names();
        Ok(vec![
            (
                "AssumedRoleUser",
                Node::map([("AssumedRoleId", Node::Text(user)), ("Arn", Node::Text(arn))]),
            ),
            (
                "Credentials",
                Node::map([
                    ("AccessKeyId", Node::Text(credentials.access_key_id)),
                    ("SecretAccessKey", Node::Text(credentials.secret_access_key)),
                    ("SessionToken", Node::Text(credentials.session_token)),
                    ("Expiration", Node::text(expiration)),
                ]),
            ),
        ])
    }
}

/// Lists regions: the one that the server is in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeRegions {
    #[serde(default)]
    region_name: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    #[serde(rename = "AllRegions")]
    _all: Option<bool>,
}

impl Action for DescribeRegions {
    const NAME: &'static str = "DescribeRegions";
    const HELP: &'static str = "Lists regions: the one that the server is in";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        let region = call.controller().region();
        if let Some(other) = self.region_name.iter().find(|name| **name != region) {
            return Err(Ec2Error::invalid_value(format!("Invalid region: '{}'", printed(other))));
        }
        let item = Node::map([
            ("regionName", Node::text(&region)),
            ("regionEndpoint", Node::Text(format!("ec2.{region}.amazonaws.com"))),
            ("optInStatus", Node::text("opt-in-not-required")),
        ]);
        let selection = Selection {
            filters: &self.filter,
            ..Selection::default()
        };
        let page = selection.of(call, [item], "regionName", &[("endpoint", "regionEndpoint")])?;
        Ok(vec![("regionInfo", Node::List(page.items))])
    }
}

/// Lists the zones of the region.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeAvailabilityZones {
    #[serde(default)]
    zone_name: Vec<String>,
    #[serde(default)]
    zone_id: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    #[serde(rename = "AllAvailabilityZones")]
    _all: Option<bool>,
}

impl Action for DescribeAvailabilityZones {
    const NAME: &'static str = "DescribeAvailabilityZones";
    const HELP: &'static str = "Lists the zones of the region: a to f, and those of its subnets";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        let region = call.controller().region();
        let mut zones: Vec<String> = zones_of(&region);
        zones.extend(
            call.controller()
                .subnets()
                .into_iter()
                .map(|subnet| subnet.availability_zone),
        );
        zones.sort();
        zones.dedup();
        if let Some(unknown) = self.zone_name.iter().find(|name| !zones.contains(name)) {
            return Err(Ec2Error::invalid_value(format!(
                "Invalid availability zone: [{}]",
                printed(unknown)
            )));
        }
        if let Some(unknown) = self
            .zone_id
            .iter()
            .find(|id| !zones.iter().any(|zone| zone_id(zone) == **id))
        {
            return Err(Ec2Error::invalid_value(format!(
                "Invalid availability zone-id: [{}]",
                printed(unknown)
            )));
        }
        let wanted = |zone: &String| {
            (self.zone_name.is_empty() || self.zone_name.contains(zone))
                && (self.zone_id.is_empty() || self.zone_id.contains(&zone_id(zone)))
        };
        let items = zones.iter().filter(|zone| wanted(zone)).map(|zone| {
            Node::map([
                ("zoneName", Node::text(zone)),
                ("zoneId", Node::Text(zone_id(zone))),
                ("zoneState", Node::text("available")),
                ("zoneType", Node::text("availability-zone")),
                ("regionName", Node::text(&region)),
                ("groupName", Node::text(&region)),
                ("networkBorderGroup", Node::text(&region)),
                ("optInStatus", Node::text("opt-in-not-required")),
                ("messageSet", Node::List(Vec::new())),
            ])
        });
        let selection = Selection {
            filters: &self.filter,
            ..Selection::default()
        };
        let places = &[("state", "zoneState")];
        let page = selection.of(call, items, "zoneName", places)?;
        Ok(vec![("availabilityZoneInfo", Node::List(page.items))])
    }
}

/// Returns the attributes of the account.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeAccountAttributes {
    #[serde(default)]
    attribute_name: Vec<String>,
}

impl Action for DescribeAccountAttributes {
    const NAME: &'static str = "DescribeAccountAttributes";
    const HELP: &'static str = "Says the attributes of the account";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        let default = call
            .controller()
            .inspect(|network| network.default_vpc().map(|vpc| vpc.id));
        let default = default.map_or_else(|| "none".to_owned(), |vpc| vpc.to_string());
        let attributes: [(&str, &str); 6] = [
            ("supported-platforms", "VPC"),
            ("default-vpc", &default),
            ("max-instances", "20"),
            ("vpc-max-security-groups-per-interface", "5"),
            ("max-elastic-ips", "5"),
            ("vpc-max-elastic-ips", "5"),
        ];
        if let Some(unknown) = self
            .attribute_name
            .iter()
            .find(|name| !attributes.iter().any(|(known, _)| known == name))
        {
            return Err(Ec2Error::invalid_value(format!(
                "Invalid account attribute: {}",
                printed(unknown)
            )));
        }
        let wanted = |name: &str| self.attribute_name.is_empty() || self.attribute_name.iter().any(|one| one == name);
        let items = attributes.iter().filter(|(name, _)| wanted(name)).map(|(name, value)| {
            let value = Node::map([("attributeValue", Node::text(value))]);
            Node::map([
                ("attributeName", Node::text(name)),
                ("attributeValueSet", Node::list([value])),
            ])
        });
        Ok(vec![("accountAttributeSet", Node::list(items))])
    }
}
