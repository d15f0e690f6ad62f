//! Reads the format of flow log records: fields of AWS's versions 2 to 10, as in `${srcaddr} ${dstaddr}` (VPC guide, "Flow log
//! records"; firewall facts, corrections). The fields of version 6 are those of transit gateways alone, and refused.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::FlowLogError;

/// Declares the fields from their names and versions, in AWS's order.
macro_rules! fields {
    ($($name:ident $text:literal $version:literal,)*) => {
        /// A field of a record.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "each is called as in AWS's documentation")]
        pub enum FlowField {
            $($name,)*
        }

        impl FlowField {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name in formats.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// The version of flow logs that it came with.
            pub const fn version(self) -> u8 {
                match self {
                    $(Self::$name => $version,)*
                }
            }
        }
    };
}

fields! {
    Version "version" 2,
    AccountId "account-id" 2,
    InterfaceId "interface-id" 2,
    SrcAddr "srcaddr" 2,
    DstAddr "dstaddr" 2,
    SrcPort "srcport" 2,
    DstPort "dstport" 2,
    Protocol "protocol" 2,
    Packets "packets" 2,
    Bytes "bytes" 2,
    Start "start" 2,
    End "end" 2,
    Action "action" 2,
    LogStatus "log-status" 2,
    VpcId "vpc-id" 3,
    SubnetId "subnet-id" 3,
    InstanceId "instance-id" 3,
    TcpFlags "tcp-flags" 3,
    Type "type" 3,
    PktSrcAddr "pkt-srcaddr" 3,
    PktDstAddr "pkt-dstaddr" 3,
    Region "region" 4,
    AzId "az-id" 4,
    SublocationType "sublocation-type" 4,
    SublocationId "sublocation-id" 4,
    PktSrcAwsService "pkt-src-aws-service" 5,
    PktDstAwsService "pkt-dst-aws-service" 5,
    FlowDirection "flow-direction" 5,
    TrafficPath "traffic-path" 5,
    EcsClusterArn "ecs-cluster-arn" 7,
    EcsClusterName "ecs-cluster-name" 7,
    EcsContainerInstanceArn "ecs-container-instance-arn" 7,
    EcsContainerInstanceId "ecs-container-instance-id" 7,
    EcsContainerId "ecs-container-id" 7,
    EcsSecondContainerId "ecs-second-container-id" 7,
    EcsServiceName "ecs-service-name" 7,
    EcsTaskDefinitionArn "ecs-task-definition-arn" 7,
    EcsTaskArn "ecs-task-arn" 7,
    EcsTaskId "ecs-task-id" 7,
    RejectReason "reject-reason" 8,
    ResourceId "resource-id" 9,
    EncryptionStatus "encryption-status" 10,
}

/// The format that a flow log has unless it is given one: the fields of version 2.
pub const DEFAULT_FORMAT: &str = "${version} ${account-id} ${interface-id} ${srcaddr} ${dstaddr} ${srcport} ${dstport} \
                                  ${protocol} ${packets} ${bytes} ${start} ${end} ${action} ${log-status}";

/// The fields of a record, in order, and the text that they were given as, which is given back unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogFormat {
    text: String,
    fields: Vec<FlowField>,
}

impl LogFormat {
    /// The fields, in order.
    pub fn fields(&self) -> &[FlowField] {
        &self.fields
    }

    /// The version that records say: the highest of the fields' (VPC guide: "If you use a custom format, the version is the
    /// highest version among the specified fields").
    pub fn version(&self) -> u8 {
        self.fields.iter().map(|field| field.version()).max().unwrap_or(2)
    }

    /// A format with all fields.
    pub fn full() -> Self {
        let fields = FlowField::ALL.to_vec();
        let text: Vec<String> = fields.iter().map(|field| format!("${{{}}}", field.name())).collect();
        Self {
            text: text.join(" "),
            fields,
        }
    }
}

impl Default for LogFormat {
    fn default() -> Self {
        Self {
            text: DEFAULT_FORMAT.to_owned(),
            fields: FlowField::ALL
                .iter()
                .copied()
                .filter(|field| field.version() == 2)
                .collect(),
        }
    }
}

/// The longest part of a format that an error repeats.
const SHOWN: usize = 60;

impl FromStr for LogFormat {
    type Err = FlowLogError;

    fn from_str(text: &str) -> Result<Self, FlowLogError> {
        let mut fields = Vec::new();
        for part in text.split_ascii_whitespace() {
            let shown = || part.chars().take(SHOWN).collect::<String>();
            let name = part
                .strip_prefix("${")
                .and_then(|rest| rest.strip_suffix('}'))
                .ok_or_else(|| FlowLogError::Format { part: shown() })?;
            let field = FlowField::ALL.iter().find(|field| field.name() == name);
            let field = field.ok_or_else(|| FlowLogError::UnknownField {
                field: name.chars().take(SHOWN).collect(),
            })?;
            fields.push(*field);
        }
        if fields.is_empty() {
            return Err(FlowLogError::EmptyFormat);
        }
        Ok(Self {
            text: text.to_owned(),
            fields,
        })
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for LogFormat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for LogFormat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
