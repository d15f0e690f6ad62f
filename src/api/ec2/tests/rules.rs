//! Tests the actions on security groups, network ACLs and prefix lists, and their tags.

use super::*;

#[test]
fn rules_are_authorized_listed_and_revoked_with_aws_refusals() {
    let ec2 = Endpoint::new();
    let (vpc, subnet) = ec2.network();
    let create = format!("GroupName=web&GroupDescription=servers&VpcId={vpc}");
    let group = ec2.get("CreateSecurityGroup", &create, "groupId");
    assert_eq!(
        ec2.refusal("CreateSecurityGroup", &create),
        (
            "InvalidGroup.Duplicate".to_owned(),
            format!("The security group 'web' already exists for VPC '{vpc}'")
        )
    );
    let permission = "IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=22&IpPermissions.1.ToPort=22";
    let ssh = format!("GroupId={group}&{permission}&IpPermissions.1.IpRanges.1.CidrIp=203.0.113.9/24");
    let own = format!("{ssh}&IpPermissions.1.Groups.1.GroupId={group}&IpPermissions.1.Groups.1.Description=peers");
    let added = ec2.call("AuthorizeSecurityGroupIngress", &own).unwrap();
    assert_eq!(count(&added, "securityGroupRuleSet"), 2);
    let rule = text(&added, "securityGroupRuleSet.0.securityGroupRuleId").unwrap();
    assert_eq!(
        ec2.refusal("AuthorizeSecurityGroupIngress", &ssh),
        (
            "InvalidPermission.Duplicate".to_owned(),
            "the specified rule \"peer: 203.0.113.0/24, TCP, from port: 22, to port: 22, ALLOW\" already exists"
                .to_owned()
        )
    );
    // Rules about the same packets are one permission; the one that lets everything out has no ports.
    let form = format!("GroupId.1={group}");
    let listed = ec2.call("DescribeSecurityGroups", &form).unwrap();
    let place = |path: &str| text(&listed, &format!("securityGroupInfo.0.{path}"));
    assert_eq!(
        place("ipPermissions.0.ipRanges.0.cidrIp").as_deref(),
        Some("203.0.113.0/24")
    );
    assert_eq!(place("ipPermissions.0.groups.0.groupId"), Some(group.clone()));
    assert_eq!(
        (
            place("ipPermissionsEgress.0.ipProtocol").as_deref(),
            place("ipPermissionsEgress.0.fromPort")
        ),
        (Some("-1"), None)
    );
    for (filter, value, found) in [
        ("group-name", "web", 1),
        ("ip-permission.group-id", group.as_str(), 1),
        ("ip-permission.cidr", "203.0.113.0/24", 1),
        ("ip-permission.from-port", "23", 0),
        ("vpc-id", vpc.as_str(), 2),
    ] {
        let form = format!("Filter.1.Name={filter}&Filter.1.Value.1={value}");
        let answer = ec2.call("DescribeSecurityGroups", &form).unwrap();
        assert_eq!(count(&answer, "securityGroupInfo"), found, "{filter}={value}");
    }
    let form = format!("Filter.1.Name=group-id&Filter.1.Value.1={group}");
    let rules = ec2.call("DescribeSecurityGroupRules", &form).unwrap();
    assert_eq!(count(&rules, "securityGroupRuleSet"), 3);

    let update = format!(
        "GroupId={group}&SecurityGroupRule.1.SecurityGroupRuleId={rule}&SecurityGroupRule.1.SecurityGroupRule.IpProtocol=112\
         &SecurityGroupRule.1.SecurityGroupRule.ReferencedGroupId={group}"
    );
    ec2.call("ModifySecurityGroupRules", &update).unwrap();
    let words = format!(
        "GroupId={group}&SecurityGroupRuleDescription.1.SecurityGroupRuleId={rule}\
         &SecurityGroupRuleDescription.1.Description=vrrp"
    );
    ec2.call("UpdateSecurityGroupRuleDescriptionsIngress", &words).unwrap();
    let form = format!("SecurityGroupRuleId.1={rule}");
    let shown = ec2.call("DescribeSecurityGroupRules", &form).unwrap();
    for (element, value) in [
        ("ipProtocol", "112"),
        ("fromPort", "-1"),
        ("description", "vrrp"),
        ("isEgress", "false"),
    ] {
        assert_eq!(
            text(&shown, &format!("securityGroupRuleSet.0.{element}")).as_deref(),
            Some(value),
            "{element}"
        );
    }

    let interface = ec2.interface(&subnet);
    let groups = format!("NetworkInterfaceId={interface}&SecurityGroupId.1={group}");
    ec2.call("ModifyNetworkInterfaceAttribute", &groups).unwrap();
    let form = format!("Filter.1.Name=group-id&Filter.1.Value.1={group}");
    assert_eq!(
        ec2.get(
            "DescribeNetworkInterfaces",
            &form,
            "networkInterfaceSet.0.groupSet.0.groupName"
        ),
        "web"
    );
    assert_eq!(
        ec2.refusal("DeleteSecurityGroup", &format!("GroupId={group}")).0,
        "DependencyViolation"
    );

    ec2.call("RevokeSecurityGroupIngress", &ssh).unwrap();
    assert_eq!(
        ec2.refusal("RevokeSecurityGroupIngress", &ssh).0,
        "InvalidPermission.NotFound"
    );
    let by_id = format!("GroupId={group}&SecurityGroupRuleId.1={rule}");
    assert_eq!(
        ec2.refusal("RevokeSecurityGroupEgress", &by_id).0,
        "InvalidParameterValue"
    );
    ec2.call("RevokeSecurityGroupIngress", &by_id).unwrap();
    assert_eq!(
        count(
            &ec2.call("DescribeStaleSecurityGroups", &format!("VpcId={vpc}"))
                .unwrap(),
            "staleSecurityGroupSet"
        ),
        0
    );
    for (action, form, code) in [
        (
            "CreateSecurityGroup",
            "GroupName=x&GroupDescription=x".to_owned(),
            "VPCIdNotSpecified",
        ),
        (
            "AuthorizeSecurityGroupIngress",
            format!("GroupId={group}"),
            "MissingParameter",
        ),
        (
            "AuthorizeSecurityGroupIngress",
            format!("GroupId={group}&{permission}"),
            "MissingParameter",
        ),
        (
            "AuthorizeSecurityGroupIngress",
            format!("GroupId={group}&IpProtocol=vrrp&CidrIp=0.0.0.0/0"),
            "InvalidParameterValue",
        ),
        (
            "AuthorizeSecurityGroupIngress",
            format!("GroupId={group}&IpProtocol=tcp&FromPort=1&ToPort=2&CidrIp=10.0.0.300/8"),
            "InvalidParameterValue",
        ),
        (
            "DescribeSecurityGroups",
            "GroupId.1=sg-0123456789abcdef0".to_owned(),
            "InvalidGroup.NotFound",
        ),
        (
            "DeleteSecurityGroup",
            "GroupId=web".to_owned(),
            "InvalidGroupId.Malformed",
        ),
    ] {
        assert_eq!(ec2.refusal(action, &form).0, code, "{action} {form}");
    }
}

#[test]
fn a_network_acl_has_aws_entries_and_a_new_association_with_each_subnet() {
    let ec2 = Endpoint::new();
    let (vpc, subnet) = ec2.network();
    let acl = ec2.get("CreateNetworkAcl", &format!("VpcId={vpc}"), "networkAcl.networkAclId");
    let form = format!("Filter.1.Name=association.subnet-id&Filter.1.Value.1={subnet}");
    let first = ec2.get(
        "DescribeNetworkAcls",
        &form,
        "networkAclSet.0.associationSet.0.networkAclAssociationId",
    );
    let replace = format!("AssociationId={first}&NetworkAclId={acl}");
    let second = ec2.get("ReplaceNetworkAclAssociation", &replace, "newAssociationId");
    assert_ne!(first, second);
    assert_eq!(
        ec2.refusal("ReplaceNetworkAclAssociation", &replace).0,
        "InvalidAssociationID.NotFound"
    );
    let entry = |number: u32, more: &str| {
        format!("NetworkAclId={acl}&RuleNumber={number}&RuleAction=allow&Egress=false&{more}")
    };
    let tcp = "Protocol=6&CidrBlock=0.0.0.0/0&PortRange.From=1024&PortRange.To=65535";
    ec2.call("CreateNetworkAclEntry", &entry(140, tcp)).unwrap();
    for (number, more, code) in [
        (140, tcp, "NetworkAclEntryAlreadyExists"),
        (32767, tcp, "InvalidParameterValue"),
        (150, "Protocol=6&CidrBlock=0.0.0.0/0", "MissingParameter"),
        (150, "Protocol=58&Ipv6CidrBlock=::/0", "MissingParameter"),
        (150, "Protocol=-1", "MissingParameter"),
    ] {
        assert_eq!(
            ec2.refusal("CreateNetworkAclEntry", &entry(number, more)).0,
            code,
            "{number} {more}"
        );
    }
    ec2.call("CreateNetworkAclEntry", &entry(150, "Protocol=58&CidrBlock=0.0.0.0/0"))
        .unwrap();
    let missing = entry(160, tcp);
    assert_eq!(
        ec2.refusal("ReplaceNetworkAclEntry", &missing).0,
        "InvalidNetworkAclEntry.NotFound"
    );
    ec2.call(
        "ReplaceNetworkAclEntry",
        &entry(140, "Protocol=1&CidrBlock=0.0.0.0/0&Icmp.Type=8&Icmp.Code=-1"),
    )
    .unwrap();
    let listed = ec2
        .call("DescribeNetworkAcls", &format!("NetworkAclId.1={acl}"))
        .unwrap();
    let entries = listed.get("networkAclSet").unwrap().items()[0]
        .get("entrySet")
        .unwrap()
        .items();
    let shown: Vec<String> = entries
        .iter()
        .map(|entry| {
            let part = |name: &str| text(entry, name).unwrap_or_default();
            let parts = ["egress", "ruleNumber", "ruleAction", "protocol", "icmpTypeCode.type"];
            parts.map(part).join(" ").trim_end().to_owned()
        })
        .collect();
    assert_eq!(
        shown,
        [
            "true 32767 deny -1",
            "true 32768 deny -1",
            "false 140 allow 1 8",
            "false 150 allow 58 -1",
            "false 32767 deny -1",
            "false 32768 deny -1",
        ]
    );
    assert_eq!(
        ec2.refusal("DeleteNetworkAcl", &format!("NetworkAclId={acl}")).0,
        "DependencyViolation"
    );
    ec2.call(
        "DeleteNetworkAclEntry",
        &format!("NetworkAclId={acl}&RuleNumber=150&Egress=false"),
    )
    .unwrap();
    let delete = format!("NetworkAclId={acl}&RuleNumber=150&Egress=false");
    assert_eq!(
        ec2.refusal("DeleteNetworkAclEntry", &delete).0,
        "InvalidNetworkAclEntry.NotFound"
    );
}

#[test]
fn a_managed_prefix_list_changes_by_versions() {
    let ec2 = Endpoint::new();
    let create =
        "PrefixListName=offices&MaxEntries=3&AddressFamily=IPv4&Entry.1.Cidr=203.0.113.0/24&Entry.1.Description=x";
    let list = ec2.get("CreateManagedPrefixList", create, "prefixList.prefixListId");
    let edit = format!("PrefixListId={list}&CurrentVersion=1&AddEntry.1.Cidr=198.51.100.0/24");
    assert_eq!(ec2.get("ModifyManagedPrefixList", &edit, "prefixList.version"), "2");
    assert_eq!(
        ec2.refusal("ModifyManagedPrefixList", &edit).0,
        "PrefixListVersionMismatch"
    );
    let both = format!("{edit}&MaxEntries=9");
    assert_eq!(
        ec2.refusal("ModifyManagedPrefixList", &both).0,
        "InvalidParameterCombination"
    );
    let entries = |form: &str| count(&ec2.call("GetManagedPrefixListEntries", form).unwrap(), "entrySet");
    assert_eq!(entries(&format!("PrefixListId={list}")), 2);
    assert_eq!(entries(&format!("PrefixListId={list}&TargetVersion=1")), 1);
    let restore = format!("PrefixListId={list}&PreviousVersion=1&CurrentVersion=2");
    assert_eq!(
        ec2.get("RestoreManagedPrefixListVersion", &restore, "prefixList.state"),
        "restore-complete"
    );
    let (vpc, _) = ec2.network();
    let form = format!("Filter.1.Name=vpc-id&Filter.1.Value.1={vpc}");
    let group = ec2.get("DescribeSecurityGroups", &form, "securityGroupInfo.0.groupId");
    let rule =
        format!("GroupId={group}&IpPermissions.1.IpProtocol=-1&IpPermissions.1.PrefixListIds.1.PrefixListId={list}");
    ec2.call("AuthorizeSecurityGroupIngress", &rule).unwrap();
    let form = format!("PrefixListId={list}");
    assert_eq!(
        ec2.get(
            "GetManagedPrefixListAssociations",
            &form,
            "prefixListAssociationSet.0.resourceId"
        ),
        group
    );
    assert_eq!(ec2.refusal("DeleteManagedPrefixList", &form).0, "DependencyViolation");
    ec2.call("RevokeSecurityGroupIngress", &rule).unwrap();
    ec2.call("DeleteManagedPrefixList", &form).unwrap();
    // Those of AWS stay.
    let listed = ec2.call("DescribeManagedPrefixLists", "").unwrap();
    assert_eq!(count(&listed, "prefixListSet"), 2);
    let own = "Filter.1.Name=owner-id&Filter.1.Value.1=123456789012";
    let listed = ec2.call("DescribeManagedPrefixLists", own).unwrap();
    assert_eq!(count(&listed, "prefixListSet"), 0);
}

#[test]
fn rules_groups_acls_and_lists_are_tagged_like_everything_else() {
    let ec2 = Endpoint::new();
    let (vpc, _) = ec2.network();
    let create = format!("GroupName=web&GroupDescription=servers&VpcId={vpc}");
    let group = ec2.get("CreateSecurityGroup", &create, "groupId");
    let form = format!("Filter.1.Name=group-id&Filter.1.Value.1={group}");
    let rule = ec2.get(
        "DescribeSecurityGroupRules",
        &form,
        "securityGroupRuleSet.0.securityGroupRuleId",
    );
    let acl = ec2.get("CreateNetworkAcl", &format!("VpcId={vpc}"), "networkAcl.networkAclId");
    let list = ec2.get(
        "CreateManagedPrefixList",
        "PrefixListName=l&MaxEntries=3&AddressFamily=IPv4",
        "prefixList.prefixListId",
    );
    let tag = format!(
        "ResourceId.1={group}&ResourceId.2={rule}&ResourceId.3={acl}&ResourceId.4={list}&Tag.1.Key=Name&Tag.1.Value=n"
    );
    ec2.call("CreateTags", &tag).unwrap();
    let listed = ec2
        .call("DescribeTags", "Filter.1.Name=key&Filter.1.Value.1=Name")
        .unwrap();
    assert_eq!(count(&listed, "tagSet"), 4);
    for (action, list, id) in [
        ("DescribeSecurityGroups", "securityGroupInfo", "groupId"),
        (
            "DescribeSecurityGroupRules",
            "securityGroupRuleSet",
            "securityGroupRuleId",
        ),
        ("DescribeNetworkAcls", "networkAclSet", "networkAclId"),
        ("DescribeManagedPrefixLists", "prefixListSet", "prefixListId"),
    ] {
        let answer = ec2.call(action, "").unwrap();
        let items = answer.get(list).unwrap().items();
        let named = items
            .iter()
            .filter(|item| text(item, "tagSet.0.value").as_deref() == Some("n"));
        assert_eq!(named.filter_map(|item| text(item, id)).count(), 1, "{action}");
    }
}
