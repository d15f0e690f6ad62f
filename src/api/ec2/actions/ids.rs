//! Reads identifiers as EC2 does: `Malformed` for a wrong form, `NotFound` for a resource that does not exist.
//!
//! The kinds of the VPC API know no wrong form: EC2 answers any text with `NotFound`, as in `InvalidVpcID.NotFound: The vpc ID
//! 'aws_vpc.main_vpc.id' does not exist` (OpenMined/PyGrid#738) and `The subnet ID 'example' does not exist`
//! (openshift-ansible#1053).

use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::request::printed;
use crate::model::ModelError;
use crate::model::ids::{ResourceId, ResourceRef};

/// The prefixes of kinds whose identifiers are never malformed.
const ANY_FORM: &[&str] = &[
    "vpc", "subnet", "rtb", "acl", "igw", "eigw", "nat", "eipalloc", "eipassoc", "rtbassoc", "aclassoc", "scr",
];
/// The prefixes of kinds of which any text with the prefix is well formed.
const ANY_SUFFIX: &[&str] = &["sg", "dopt"];

/// An identifier. One of the right form that no resource can have here does not exist.
pub(super) fn id<T: ResourceId>(text: &str) -> Result<T, Ec2Error> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let digits = text.strip_prefix(T::PREFIX).and_then(|rest| rest.strip_prefix('-'));
    // 8 digits before 2018, 17 since ("Resource IDs", EC2 user guide).
    let any_form = ANY_FORM.contains(&T::PREFIX) || ANY_SUFFIX.contains(&T::PREFIX) && digits.is_some();
    if any_form
        || digits
            .is_some_and(|digits| matches!(digits.len(), 8 | 17) && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        return Err(ModelError::not_found::<T>(text).into());
    }
    // "Error codes for the Amazon EC2 API": three kinds are spelled otherwise than in their `NotFound`.
    let code = match T::PREFIX {
        "sg" => "InvalidGroupId.Malformed".to_owned(),
        "dopt" => "InvalidDhcpOptionsId.Malformed".to_owned(),
        "pcx" => "InvalidVpcPeeringConnectionId.Malformed".to_owned(),
        _ => T::NOT_FOUND.replace("NotFound", "Malformed"),
    };
    let text = printed(text);
    let message = match T::PREFIX {
        // As a test of moto that passes on AWS has it (test_invalid_security_group_id_in_rules_search).
        "sg" => format!("The security group ID '{text}' is malformed"),
        prefix => format!("Invalid id: \"{text}\" (expecting \"{prefix}-...\")"),
    };
    Err(Ec2Error::new(code, message))
}

/// References by identifier.
pub(super) fn references<T: ResourceId>(texts: &[String]) -> Result<Vec<ResourceRef<T>>, Ec2Error> {
    texts.iter().map(|text| reference(text)).collect()
}

/// A reference by identifier: EC2 has no other names for resources.
pub(super) fn reference<T: ResourceId>(text: &str) -> Result<ResourceRef<T>, Ec2Error> {
    id(text).map(ResourceRef::Id)
}
