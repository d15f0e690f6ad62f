//! Derives zones, domains and host names from a region: a zone is a region and a letter, as in `eu-central-1a`.

/// The default region of a server.
pub const DEFAULT_REGION: &str = "us-east-1";

/// The default zone of a subnet.
pub fn default_zone(region: &str) -> String {
    format!("{region}a")
}

/// The zones of a region that this server lists: `a` to `f`.
pub fn zones_of(region: &str) -> Vec<String> {
    ('a'..='f').map(|letter| format!("{region}{letter}")).collect()
}

/// The domain of private names in a region (VPC guide, "DNS hostnames").
pub fn private_domain(region: &str) -> String {
    match region {
        "us-east-1" => "ec2.internal".to_owned(),
        region => format!("{region}.compute.internal"),
    }
}

/// The private name of an address, without the domain (EC2 guide, "IP name").
pub fn ip_name(address: std::net::Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("ip-{a}-{b}-{c}-{d}")
}

/// The public name of a public address (VPC guide, "DNS hostnames").
pub fn public_name(address: std::net::Ipv4Addr, region: &str) -> String {
    let [a, b, c, d] = address.octets();
    let domain = match region {
        "us-east-1" => "compute-1".to_owned(),
        region => format!("{region}.compute"),
    };
    format!("ec2-{a}-{b}-{c}-{d}.{domain}.amazonaws.com")
}

/// The public address that a public name stands for; names are compared without regard to case (RFC 4343).
pub fn public_address_of(name: &str, region: &str) -> Option<std::net::Ipv4Addr> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let label = name.split('.').next()?.strip_prefix("ec2-")?;
    let address = label.replace('-', ".").parse().ok()?;
    (public_name(address, region) == name).then_some(address)
}

/// The names by which clients find the APIs of EC2 and STS in a region: those that are compiled into them, and the dual-stack ones
/// ("Service endpoints", AWS General Reference).
pub fn api_names(region: &str) -> Vec<String> {
    let regional = ["ec2", "sts"].iter().flat_map(|service| {
        [
            format!("{service}.{region}.amazonaws.com"),
            format!("{service}.{region}.api.aws"),
        ]
    });
    let global = ["sts.amazonaws.com", "ec2.amazonaws.com"].map(str::to_owned);
    regional.chain(global).collect()
}

/// The zone's identifier, as in `use1-az1`: the region shortened, and the letter as a number ("Availability Zone IDs").
pub fn zone_id(zone: &str) -> String {
    let region = region_of(zone);
    let letter = zone[region.len()..]
        .bytes()
        .next()
        .map_or(1, |letter| u32::from(letter.saturating_sub(b'a')) + 1);
    let mut parts = region.split('-');
    let country = parts.next().unwrap_or_default();
    let rest: String = parts
        .map(|part| match part {
            "northeast" => "ne",
            "northwest" => "nw",
            "southeast" => "se",
            "southwest" => "sw",
            part => part.get(..1).unwrap_or_default(),
        })
        .collect();
    format!("{country}{rest}-az{letter}")
}

/// The region that a zone lies in.
pub fn region_of(zone: &str) -> &str {
    let letters = zone.trim_end_matches(|c: char| c.is_ascii_lowercase());
    // A name that does not end in a digit and a letter is a region, or a name of the user's own.
    if letters.ends_with(|c: char| c.is_ascii_digit()) {
        letters
    } else {
        zone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_name_has_the_address_and_the_region_in_it() {
        let address = std::net::Ipv4Addr::new(203, 0, 113, 25);
        for (region, name) in [
            ("us-east-1", "ec2-203-0-113-25.compute-1.amazonaws.com"),
            ("us-west-2", "ec2-203-0-113-25.us-west-2.compute.amazonaws.com"),
        ] {
            assert_eq!(public_name(address, region), name);
            assert_eq!(public_address_of(&name.to_uppercase(), region), Some(address));
        }
        for wrong in [
            "ec2-203-0-113-025.compute-1.amazonaws.com",
            "ec2-203-0-113-25.us-west-2.compute.amazonaws.com",
            "ip-203-0-113-25.compute-1.amazonaws.com",
            "compute-1.amazonaws.com",
        ] {
            assert_eq!(public_address_of(wrong, "us-east-1"), None, "{wrong}");
        }
    }

    #[test]
    fn a_zone_has_an_identifier_by_which_accounts_agree_on_it() {
        for (zone, id) in [
            ("us-east-1a", "use1-az1"),
            ("ap-northeast-1c", "apne1-az3"),
            ("ap-southeast-3b", "apse3-az2"),
            ("cn-northwest-1a", "cnnw1-az1"),
            ("us-gov-west-1a", "usgw1-az1"),
        ] {
            assert_eq!(zone_id(zone), id);
        }
    }

    #[test]
    fn a_zone_is_its_region_and_a_letter() {
        for (zone, region) in [
            ("us-east-1a", "us-east-1"),
            ("eu-central-1c", "eu-central-1"),
            ("local-1a", "local-1"),
            ("us-gov-west-1", "us-gov-west-1"),
            ("here", "here"),
        ] {
            assert_eq!(region_of(zone), region);
        }
        assert_eq!(region_of(&default_zone(DEFAULT_REGION)), DEFAULT_REGION);
    }
}
