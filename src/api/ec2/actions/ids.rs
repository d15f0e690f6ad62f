//! Reads identifiers as EC2 does: `Malformed` for a wrong form, `NotFound` for a resource that does not exist.

use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::request::printed;
use crate::model::ModelError;
use crate::model::ids::{ResourceId, ResourceRef};

/// An identifier. One of the right form that no resource can have here does not exist.
pub(super) fn id<T: ResourceId>(text: &str) -> Result<T, Ec2Error> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let digits = text.strip_prefix(T::PREFIX).and_then(|rest| rest.strip_prefix('-'));
    // 8 digits before 2018, 17 since ("Resource IDs", EC2 user guide).
    if digits
        .is_some_and(|digits| matches!(digits.len(), 8 | 17) && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        return Err(ModelError::not_found::<T>(text).into());
    }
    let code = T::NOT_FOUND.replace("NotFound", "Malformed");
    let message = format!("Invalid id: \"{}\" (expecting \"{}-...\")", printed(text), T::PREFIX);
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
