//! Tests launch templates: their versions, and launches with them.

use super::*;

const IMAGE: &str = "ami-0123456789abcdef0";

/// A template `web` with an image, a type, a tag and an interface in a subnet.
fn template(ec2: &Endpoint, subnet: &str) -> Node {
    let data = format!(
        "LaunchTemplateName=web&VersionDescription=first&LaunchTemplateData.ImageId={IMAGE}\
         &LaunchTemplateData.InstanceType=t3.small&LaunchTemplateData.UserData=IyEvYmluL3No\
         &LaunchTemplateData.MetadataOptions.HttpTokens=required\
         &LaunchTemplateData.TagSpecification.1.ResourceType=instance\
         &LaunchTemplateData.TagSpecification.1.Tag.1.Key=env&LaunchTemplateData.TagSpecification.1.Tag.1.Value=test\
         &LaunchTemplateData.NetworkInterface.1.DeviceIndex=0&LaunchTemplateData.NetworkInterface.1.SubnetId={subnet}\
         &LaunchTemplateData.NetworkInterface.1.Ipv4Prefix.1.Ipv4Prefix=10.0.1.32%2F28"
    );
    ec2.call("CreateLaunchTemplate", &data).unwrap()
}

#[test]
fn a_launch_takes_what_it_leaves_out_from_its_template() {
    let ec2 = Endpoint::new();
    let (_, subnet) = ec2.network();
    let made = template(&ec2, &subnet);
    let id = text(&made, "launchTemplate.launchTemplateId").unwrap();
    let launched = ec2
        .call(
            "RunInstances",
            "MinCount=1&MaxCount=1&LaunchTemplate.LaunchTemplateName=web",
        )
        .unwrap();
    let of = |path: &str| text(&launched, &format!("instancesSet.0.{path}")).unwrap();
    assert_eq!(
        (of("imageId"), of("instanceType")),
        (IMAGE.to_owned(), "t3.small".to_owned())
    );
    assert_eq!(of("metadataOptions.httpTokens"), "required");
    assert_eq!(of("networkInterfaceSet.0.ipv4PrefixSet.0.ipv4Prefix"), "10.0.1.32/28");
    let tags = |launched: &Node| -> BTreeMap<String, String> {
        let tags = launched.get("instancesSet").unwrap().items()[0]
            .get("tagSet")
            .unwrap()
            .items();
        tags.iter()
            .map(|tag| (text(tag, "key").unwrap(), text(tag, "value").unwrap()))
            .collect()
    };
    let expected = [
        ("aws:ec2launchtemplate:id", id.as_str()),
        ("aws:ec2launchtemplate:version", "1"),
        ("env", "test"),
    ];
    assert_eq!(
        tags(&launched),
        expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    );
    let instance = of("instanceId");
    let data = ec2.get(
        "DescribeInstanceAttribute",
        &format!("InstanceId={instance}&Attribute=userData"),
        "userData.value",
    );
    assert_eq!(data, "IyEvYmluL3No");
    // What the launch says itself goes first, and its tags are added.
    let version = format!(
        "LaunchTemplateId={id}&SourceVersion=1&LaunchTemplateData.KernelId=aki-1&LaunchTemplateData.NetworkInterface.1.DeviceIndex=0\
         &LaunchTemplateData.NetworkInterface.1.SubnetId={subnet}"
    );
    ec2.call("CreateLaunchTemplateVersion", &version).unwrap();
    let own = format!(
        "MinCount=1&MaxCount=1&LaunchTemplate.LaunchTemplateId={id}&LaunchTemplate.Version=1&InstanceType=m5.large\
         &NetworkInterface.1.DeviceIndex=0&NetworkInterface.1.SubnetId={subnet}\
         &TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=env&TagSpecification.1.Tag.1.Value=own"
    );
    let launched = ec2.call("RunInstances", &own).unwrap();
    assert_eq!(
        text(&launched, "instancesSet.0.instanceType").as_deref(),
        Some("m5.large")
    );
    assert_eq!(tags(&launched)["env"], "own");
    for (more, code) in [
        // What this server cannot do is refused when it is to be done.
        (
            "LaunchTemplateName=web&LaunchTemplate.Version=$Latest",
            "UnsupportedOperation",
        ),
        (
            "LaunchTemplateName=web&LaunchTemplate.Version=3",
            "InvalidLaunchTemplateId.VersionNotFound",
        ),
        (
            "LaunchTemplateName=web&LaunchTemplate.Version=x",
            "InvalidParameterValue",
        ),
        (
            "LaunchTemplateName=other",
            "InvalidLaunchTemplateName.NotFoundException",
        ),
        (
            "LaunchTemplateId=lt-00000000000000001",
            "InvalidLaunchTemplateId.NotFound",
        ),
        ("LaunchTemplateId=x", "InvalidLaunchTemplateId.Malformed"),
    ] {
        let form = format!("MinCount=1&MaxCount=1&LaunchTemplate.{more}");
        assert_eq!(ec2.refusal("RunInstances", &form).0, code, "{more}");
    }
}

#[test]
fn versions_of_a_template_are_listed_with_what_was_put_in() {
    let ec2 = Endpoint::new();
    let (_, subnet) = ec2.network();
    let id = text(&template(&ec2, &subnet), "launchTemplate.launchTemplateId").unwrap();
    let taken = "LaunchTemplateName=web&LaunchTemplateData.KeyName=k";
    assert_eq!(
        ec2.refusal("CreateLaunchTemplate", taken),
        (
            "InvalidLaunchTemplateName.AlreadyExistsException".to_owned(),
            "Launch template name already in use.".to_owned()
        )
    );
    let second =
        format!("LaunchTemplateId={id}&LaunchTemplateData.SecurityGroupId.1=sg-1&LaunchTemplateData.EbsOptimized=true");
    let number = ec2.get(
        "CreateLaunchTemplateVersion",
        &second,
        "launchTemplateVersion.versionNumber",
    );
    assert_eq!(number, "2");
    let listed = |more: &str| {
        ec2.call(
            "DescribeLaunchTemplateVersions",
            &format!("LaunchTemplateName=web{more}"),
        )
        .unwrap()
    };
    let first = listed("&LaunchTemplateVersion.1=$Default");
    let of = |path: &str| text(&first, &format!("launchTemplateVersionSet.0.{path}")).unwrap();
    assert_eq!(
        (of("versionDescription"), of("defaultVersion")),
        ("first".into(), "true".into())
    );
    assert_eq!(of("launchTemplateData.tagSpecificationSet.0.tagSet.0.value"), "test");
    assert_eq!(
        of("launchTemplateData.networkInterfaceSet.0.ipv4PrefixSet.0.ipv4Prefix"),
        "10.0.1.32/28"
    );
    let second = listed("&LaunchTemplateVersion.1=$Latest");
    let of = |path: &str| {
        text(
            &second,
            &format!("launchTemplateVersionSet.0.launchTemplateData.{path}"),
        )
        .unwrap()
    };
    assert_eq!(
        (of("securityGroupIdSet.0"), of("ebsOptimized")),
        ("sg-1".into(), "true".into())
    );
    for (more, found) in [
        ("", 2),
        ("&MinVersion=2", 1),
        ("&MaxVersion=1", 1),
        ("&LaunchTemplateVersion.1=1&LaunchTemplateVersion.2=2", 2),
        ("&Filter.1.Name=instance-type&Filter.1.Value.1=t3.*", 1),
        ("&Filter.1.Name=is-default-version&Filter.1.Value.1=false", 1),
    ] {
        assert_eq!(count(&listed(more), "launchTemplateVersionSet"), found, "{more}");
    }
    let all = ec2
        .call("DescribeLaunchTemplateVersions", "LaunchTemplateVersion.1=$Latest")
        .unwrap();
    assert_eq!(count(&all, "launchTemplateVersionSet"), 1);
    let refusal = |action: &str, form: &str| ec2.refusal(action, form).0;
    assert_eq!(refusal("DescribeLaunchTemplateVersions", ""), "MissingParameter");
    assert_eq!(
        refusal("DescribeLaunchTemplateVersions", "LaunchTemplateVersion.1=1"),
        "InvalidParameterValue"
    );
    assert_eq!(
        ec2.refusal(
            "DescribeLaunchTemplateVersions",
            "LaunchTemplateName=web&LaunchTemplateVersion.1=3"
        )
        .1,
        format!("Could not find the specified version 3 for the launch template with ID {id}.")
    );
    let modify = format!("LaunchTemplateId={id}&SetDefaultVersion=2");
    assert_eq!(
        ec2.get("ModifyLaunchTemplate", &modify, "launchTemplate.defaultVersionNumber"),
        "2"
    );
    let delete =
        format!("LaunchTemplateId={id}&LaunchTemplateVersion.1=1&LaunchTemplateVersion.2=2&LaunchTemplateVersion.3=3");
    let deleted = ec2.call("DeleteLaunchTemplateVersions", &delete).unwrap();
    let kept = "unsuccessfullyDeletedLaunchTemplateVersionSet";
    assert_eq!(
        (
            count(&deleted, "successfullyDeletedLaunchTemplateVersionSet"),
            count(&deleted, kept)
        ),
        (1, 2)
    );
    assert_eq!(
        text(&deleted, &format!("{kept}.1.responseError.code")).as_deref(),
        Some("launchTemplateVersionDoesNotExist")
    );
    ec2.call("CreateTags", &format!("ResourceId.1={id}&Tag.1.Key=k&Tag.1.Value=v"))
        .unwrap();
    let templates = |form: &str| count(&ec2.call("DescribeLaunchTemplates", form).unwrap(), "launchTemplates");
    assert_eq!(templates("Filter.1.Name=tag%3Ak&Filter.1.Value.1=v"), 1);
    assert_eq!(templates("LaunchTemplateName.1=web"), 1);
    let unknown = refusal("DescribeLaunchTemplates", "LaunchTemplateName.1=other");
    assert_eq!(unknown, "InvalidLaunchTemplateName.NotFoundException");
    ec2.call("DeleteLaunchTemplate", "LaunchTemplateName=web").unwrap();
    assert_eq!(templates(""), 0);
}

#[test]
fn an_instance_without_a_console_answers_as_one_that_wrote_nothing() {
    let ec2 = Endpoint::new();
    let (_, subnet) = ec2.network();
    let form = format!("ImageId={IMAGE}&MinCount=1&MaxCount=1&SubnetId={subnet}");
    let instance = ec2.get("RunInstances", &form, "instancesSet.0.instanceId");
    let answer = ec2.call("GetConsoleOutput", &format!("InstanceId={instance}")).unwrap();
    assert_eq!(
        (text(&answer, "instanceId"), text(&answer, "output")),
        (Some(instance), None)
    );
    assert!(text(&answer, "timestamp").is_some());
    let unknown = ec2.refusal("GetConsoleOutput", "InstanceId=i-0123456789abcdef0");
    assert_eq!(unknown.0, "InvalidInstanceID.NotFound");
}
