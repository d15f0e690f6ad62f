//! Lists images and volumes, as far as clients ask for them before they launch: there is one image, and each host is
//! made of this machine's files.

use serde::Deserialize;

use super::render::ACCOUNT;
use crate::api::ec2::action::{Action, Answer, Filter};
use crate::api::ec2::describe::{Place, Selection};
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::request::printed;
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::instance::IMAGE;

/// This machine's architecture, which every host has.
pub(super) const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "x86_64"
};

/// An image by identifier. Each stands for the same host, so that a launch need not know ours.
pub(super) fn check_image(given: &str) -> Result<(), Ec2Error> {
    let digits = given.strip_prefix("ami-").unwrap_or_default();
    let fits = matches!(digits.len(), 8 | 17) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if fits {
        return Ok(());
    }
    Err(Ec2Error::new(
        "InvalidAMIID.Malformed",
        format!("Invalid id: \"{}\" (expecting \"ami-...\")", printed(given)),
    ))
}

/// The `Image` of EC2's answers.
fn described(id: &str) -> Node {
    Node::map([
        ("imageId", Node::text(id)),
        ("imageLocation", Node::text("amazon/localvpc-host")),
        ("imageState", Node::text("available")),
        ("imageOwnerId", Node::text(ACCOUNT)),
        ("imageOwnerAlias", Node::text("amazon")),
        ("creationDate", Node::text("2026-01-01T00:00:00.000Z")),
        ("isPublic", Node::text(true)),
        ("architecture", Node::text(ARCHITECTURE)),
        ("imageType", Node::text("machine")),
        ("name", Node::text("localvpc-host")),
        (
            "description",
            Node::text("A host of the lab, with the files of the machine that localvpc runs on"),
        ),
        ("platformDetails", Node::text("Linux/UNIX")),
        ("rootDeviceType", Node::text("ebs")),
        ("rootDeviceName", Node::text("/dev/xvda")),
        ("virtualizationType", Node::text("hvm")),
        ("hypervisor", Node::text("xen")),
        ("enaSupport", Node::text(true)),
    ])
}

const IMAGE_PLACES: &[Place] = &[
    ("architecture", "architecture"),
    ("image-id", "imageId"),
    ("image-type", "imageType"),
    ("is-public", "isPublic"),
    ("owner-alias", "imageOwnerAlias"),
    ("owner-id", "imageOwnerId"),
    ("root-device-type", "rootDeviceType"),
    ("root-device-name", "rootDeviceName"),
    ("state", "imageState"),
    ("virtualization-type", "virtualizationType"),
];

/// Lists images.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeImages {
    #[serde(default)]
    image_id: Vec<String>,
    #[serde(default)]
    owner: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
    include_deprecated: Option<bool>,
    include_disabled: Option<bool>,
}

impl Action for DescribeImages {
    const NAME: &'static str = "DescribeImages";
    const HELP: &'static str =
        "Lists images: the one that there is, those that instances were launched with, and those that are asked for";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        // None is deprecated or disabled.
        let _ = (self.include_deprecated, self.include_disabled);
        self.image_id.iter().try_for_each(|id| check_image(id))?;
        let mut known: Vec<String> = call
            .controller()
            .instances()
            .iter()
            .map(|one| one.image().to_owned())
            .collect();
        known.push(IMAGE.to_owned());
        known.extend(self.image_id.iter().cloned());
        known.sort();
        known.dedup();
        let ours = ["amazon", "self", ACCOUNT];
        if !self.owner.is_empty() && !self.owner.iter().any(|owner| ours.contains(&owner.as_str())) {
            known.clear();
        }
        let selection = Selection {
            ids: Some(("ImageIds", &self.image_id)),
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
        };
        let page = selection.of(call, known.iter().map(|id| described(id)), "imageId", IMAGE_PLACES)?;
        Ok(vec![("imagesSet", Node::List(page.items)), ("nextToken", page.next)])
    }
}

/// Lists volumes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeVolumes {
    #[serde(default)]
    volume_id: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for DescribeVolumes {
    const NAME: &'static str = "DescribeVolumes";
    const HELP: &'static str = "Lists volumes, of which there are none: hosts have files of their own";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        if let Some(id) = self.volume_id.first() {
            return Err(Ec2Error::new(
                "InvalidVolume.NotFound",
                format!("The volume '{}' does not exist.", printed(id)),
            ));
        }
        let selection = Selection {
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
            ..Selection::default()
        };
        let page = selection.of(call, [], "volumeId", &[])?;
        Ok(vec![("volumeSet", Node::List(page.items)), ("nextToken", page.next)])
    }
}
