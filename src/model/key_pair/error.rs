//! Lists why an edit of a key pair is refused.

use crate::model::error::RefusalKind;

/// A refusal. `Display` is EC2's message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyPairError {
    /// Another key pair has the name.
    #[error("The keypair already exists")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A name of no key pair.
    #[error("The key pair '{name}' does not exist")]
    Unknown {
        /// The name.
        name: String,
    },
    /// A name that EC2 does not accept.
    #[error("The name of a key pair has 1 to 255 ASCII characters, without spaces at its ends")]
    Name,
}

impl KeyPairError {
    /// The error code of EC2 for this case.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Duplicate { .. } => "InvalidKeyPair.Duplicate",
            Self::Unknown { .. } => "InvalidKeyPair.NotFound",
            Self::Name => "InvalidParameterValue",
        }
    }

    /// The wrong field of the request, in the API's spelling.
    pub const fn field(&self) -> &'static str {
        "key_name"
    }

    /// The remedy, as one sentence.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Duplicate { .. } => "Choose another name, or delete the key pair that has it.",
            Self::Unknown { .. } => "Create the key pair or import it first.",
            Self::Name => "Choose another name.",
        }
    }

    /// What sort of refusal it is.
    pub const fn kind(&self) -> RefusalKind {
        match self {
            Self::Duplicate { .. } => RefusalKind::Conflict,
            Self::Unknown { .. } => RefusalKind::NotFound,
            Self::Name => RefusalKind::Invalid,
        }
    }
}
