//! Defines an instance's metadata options and the metadata that the network cannot determine (EC2 API,
//! InstanceMetadataOptionsRequest).

use serde::{Deserialize, Deserializer, Serialize};

use super::policy::IamPolicy;
use crate::model::error::ModelError;

/// The most octets of user data (EC2 guide, "Run commands at launch": 16 KB before encoding).
pub const MOST_USER_DATA: usize = 16 * 1024;

/// Whether a request needs a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum HttpTokens {
    /// IMDSv1 and IMDSv2.
    #[default]
    Optional,
    /// IMDSv2 only: a request without token is answered with 401.
    Required,
}

/// The metadata service of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct InstanceMetadata {
    /// Whether the service answers; otherwise it returns 403.
    pub enabled: bool,
    /// Whether a request needs a token.
    pub http_tokens: HttpTokens,
    /// TTL or hop limit of the packets with a token, 1 to 64.
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 64))]
    pub http_put_response_hop_limit: u8,
    /// Whether `fd00:ec2::254` answers too; off by default, as on EC2.
    pub http_protocol_ipv6: bool,
    /// Whether `tags/instance/` is shown; off by default, as on EC2. The keys of tags are then parts of paths, so they
    /// may contain only letters, digits and -_+=,.@:.
    pub instance_tags: bool,
    /// As in `t3.micro`.
    pub instance_type: String,
    /// The content of `user-data`, up to 16 KiB; none if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// A role, whose temporary credentials the service gives; no role if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iam_role: Option<String>,
    /// The actions of the EC2 API that the instance may call; all if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iam_policy: Option<IamPolicy>,
}

impl Default for InstanceMetadata {
    fn default() -> Self {
        Self {
            enabled: true,
            http_tokens: HttpTokens::Optional,
            http_put_response_hop_limit: 1,
            http_protocol_ipv6: false,
            instance_tags: false,
            instance_type: "t3.micro".to_owned(),
            user_data: None,
            iam_role: None,
            iam_policy: None,
        }
    }
}

/// A change of the metadata; a field that is left out stays unchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", schema(as = InstanceMetadataChange))]
pub struct MetadataChange {
    /// Whether the service answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Whether a request needs a token: `optional` or `required`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_tokens: Option<HttpTokens>,
    /// TTL or hop limit of the packets with a token, 1 to 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_put_response_hop_limit: Option<u8>,
    /// Whether `fd00:ec2::254` answers too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_protocol_ipv6: Option<bool>,
    /// Whether `tags/instance/` is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_tags: Option<bool>,
    /// As in `t3.micro`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// Other user data, or null for none.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub user_data: Option<Option<String>>,
    /// Another role, or null for none.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub iam_role: Option<Option<String>>,
    /// Other actions of the EC2 API that the instance may call, or null for all.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<IamPolicy>))]
    pub iam_policy: Option<Option<IamPolicy>>,
}

/// An explicit `null` is a value.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

impl MetadataChange {
    /// The change to these metadata, from any others.
    pub fn to(metadata: &InstanceMetadata) -> Self {
        let metadata = metadata.clone();
        Self {
            enabled: Some(metadata.enabled),
            http_tokens: Some(metadata.http_tokens),
            http_put_response_hop_limit: Some(metadata.http_put_response_hop_limit),
            http_protocol_ipv6: Some(metadata.http_protocol_ipv6),
            instance_tags: Some(metadata.instance_tags),
            instance_type: Some(metadata.instance_type),
            user_data: Some(metadata.user_data),
            iam_role: Some(metadata.iam_role),
            iam_policy: Some(metadata.iam_policy),
        }
    }

    /// The metadata after the change, or why they are refused.
    pub(crate) fn applied_to(self, mut metadata: InstanceMetadata) -> Result<InstanceMetadata, ModelError> {
        let wrong = |field, given: String, remedy| Err(ModelError::OutOfRange { field, given, remedy });
        if let Some(limit) = self.http_put_response_hop_limit {
            if !(1..=64).contains(&limit) {
                let field = "metadata.http_put_response_hop_limit";
                return wrong(field, limit.to_string(), "Give 1 to 64.");
            }
            metadata.http_put_response_hop_limit = limit;
        }
        if let Some(data) = self.user_data {
            if let Some(length) = data.as_ref().map(String::len).filter(|length| *length > MOST_USER_DATA) {
                let given = format!("{length} octets long");
                return wrong("metadata.user_data", given, "Give at most 16384 octets.");
            }
            metadata.user_data = data;
        }
        if let Some(role) = self.iam_role {
            // IAM API, CreateRole: letters, digits and _+=,.@- (the name becomes a part of a path).
            let fits = |role: &str| {
                (1..=64).contains(&role.len())
                    && role.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c))
            };
            if let Some(bad) = role.as_deref().filter(|role| !fits(role)) {
                let remedy = "Give 1 to 64 letters, digits and _+=,.@- as IAM does.";
                return wrong("metadata.iam_role", format!("'{bad}'"), remedy);
            }
            metadata.iam_role = role;
        }
        if let Some(policy) = self.iam_policy {
            policy.as_ref().map_or(Ok(()), IamPolicy::check)?;
            metadata.iam_policy = policy;
        }
        if let Some(kind) = self.instance_type {
            if kind.is_empty() || kind.contains(|c: char| c.is_whitespace() || c.is_control()) {
                let remedy = "Give a word such as t3.micro.";
                return wrong("metadata.instance_type", format!("'{kind}'"), remedy);
            }
            metadata.instance_type = kind;
        }
        metadata.enabled = self.enabled.unwrap_or(metadata.enabled);
        metadata.http_tokens = self.http_tokens.unwrap_or(metadata.http_tokens);
        metadata.http_protocol_ipv6 = self.http_protocol_ipv6.unwrap_or(metadata.http_protocol_ipv6);
        metadata.instance_tags = self.instance_tags.unwrap_or(metadata.instance_tags);
        Ok(metadata)
    }
}

/// Whether a tag may be shown in the metadata (EC2 guide, "Work with instance tags in instance metadata").
pub fn is_tag_key(key: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_+=,.@:".contains(c);
    (1..=255).contains(&key.len()) && key.chars().all(plain) && !matches!(key, "." | ".." | "_index")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_changes_what_it_names_and_null_takes_away() {
        let read = |text: &str| serde_json::from_str::<MetadataChange>(text).unwrap();
        let metadata = InstanceMetadata::default();
        let metadata = read(r##"{"http_tokens": "required", "user_data": "#!/bin/sh"}"##)
            .applied_to(metadata)
            .unwrap();
        assert_eq!(metadata.http_tokens, HttpTokens::Required);
        let metadata = read(r#"{"iam_role": "failover"}"#).applied_to(metadata).unwrap();
        assert_eq!(metadata.user_data.as_deref(), Some("#!/bin/sh"));
        let metadata = read(r#"{"user_data": null}"#).applied_to(metadata).unwrap();
        assert_eq!(
            (
                metadata.user_data.as_deref(),
                metadata.iam_role.as_deref(),
                metadata.http_tokens
            ),
            (None, Some("failover"), HttpTokens::Required)
        );
    }

    #[test]
    fn what_ec2_refuses_is_refused_by_field() {
        for (text, field) in [
            (
                r#"{"http_put_response_hop_limit": 0}"#.to_owned(),
                "metadata.http_put_response_hop_limit",
            ),
            (
                r#"{"http_put_response_hop_limit": 65}"#.to_owned(),
                "metadata.http_put_response_hop_limit",
            ),
            (
                format!(r#"{{"user_data": "{}"}}"#, "x".repeat(16_385)),
                "metadata.user_data",
            ),
            (r#"{"iam_role": "a/b"}"#.to_owned(), "metadata.iam_role"),
            (r#"{"instance_type": ""}"#.to_owned(), "metadata.instance_type"),
        ] {
            let change: MetadataChange = serde_json::from_str(&text).unwrap();
            let error = change.applied_to(InstanceMetadata::default()).unwrap_err();
            assert_eq!((error.field(), error.code()), (Some(field), "InvalidParameterValue"));
        }
    }
}
