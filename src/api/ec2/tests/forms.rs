//! Sends forms of random content: each is answered, and a refused one changes nothing.

use proptest::prelude::*;

use super::*;

/// The API of a network whose answers are not checked.
fn bare() -> Ec2 {
    Ec2::new(AppState::new(
        Controller::new(ControllerConfig::default()),
        GuardConfig::default(),
    ))
}

/// A value that a parameter could have, or should not have.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("true".to_owned()),
        Just("default".to_owned()),
        Just("10.0.0.0/16".to_owned()),
        Just("10.0.1.10".to_owned()),
        Just("2001:db8::/64".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        "(vpc|subnet|eni|i|sg|rtb|eipalloc|acl|igw|dopt|pl)-0[0-9a-f]{16}",
        ".{0,40}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_form_of_any_content_is_answered_and_a_refused_one_changes_nothing(
        action in 0..ACTIONS.len(),
        parameters in prop::collection::vec((any::<prop::sample::Index>(), 0_u32..4, value()), 0..8),
        more in prop::collection::vec((".{0,30}", value()), 0..2),
    ) {
        let entry = &ACTIONS[action];
        let known = entry.parameters();
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", entry.name);
        for (index, number, value) in &parameters {
            if let Some((name, _)) = (!known.is_empty()).then(|| index.get(&known)) {
                form.append_pair(&name.replace(".N", &format!(".{number}")), value);
            }
        }
        for (name, value) in &more {
            form.append_pair(name, value);
        }
        let ec2 = bare();
        let _ = ec2.answer(b"", b"Action=CreateVpc&CidrBlock=10.0.0.0/16");
        let before = ec2.state.controller.revision();
        let (status, document) = ec2.answer(b"", form.finish().as_bytes());
        prop_assert!(document.starts_with("<?xml"), "{document}");
        prop_assert!(status != 500, "{document}");
        if status >= 400 || entry.reads {
            prop_assert_eq!(ec2.state.controller.revision(), before, "{}", document);
        }
    }
}

#[test]
fn what_a_request_says_twice_or_of_no_zone_is_refused() {
    let ec2 = Endpoint::new();
    let (vpc, subnet) = ec2.network();
    let tags = format!("ResourceId.1={subnet}&Tag.1.Key=k&Tag.1.Value=1&Tag.2.Key=k&Tag.2.Value=2");
    let expected = (
        "InvalidParameterValue".to_owned(),
        "Duplicate tag key 'k' specified.".to_owned(),
    );
    assert_eq!(ec2.refusal("CreateTags", &tags), expected);
    for zone in ["us-east-1z", "bogus", "us-east-1"] {
        let form = format!("VpcId={vpc}&CidrBlock=10.0.99.0/24&AvailabilityZone={zone}");
        let (code, message) = ec2.refusal("CreateSubnet", &form);
        assert_eq!(code, "InvalidParameterValue");
        assert!(message.contains("us-east-1f"), "{message}");
    }
}
