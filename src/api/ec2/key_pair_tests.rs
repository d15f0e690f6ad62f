//! Key pairs by the actions that make, import, list, tag and delete them.

use super::tests::{Endpoint, count, text};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEef4D+btnUOs0FVj2HsXnd5bA78jfvHKQD+t8YrddNd";

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn material(text: &str) -> String {
    encoded(&data_encoding::BASE64.encode(text.as_bytes()))
}

#[test]
fn a_private_key_is_in_the_answer_that_made_it_and_the_public_one_in_the_list() {
    let ec2 = Endpoint::new();
    let tags = "&TagSpecification.1.ResourceType=key-pair&TagSpecification.1.Tag.1.Key=env&TagSpecification.1.Tag.1.Value=test";
    let made = ec2
        .call("CreateKeyPair", &format!("KeyName=a&KeyType=ed25519{tags}"))
        .unwrap();
    let of = |path: &str| text(&made, path).unwrap();
    assert!(of("keyMaterial").starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
    assert_eq!(
        (of("keyName"), of("tagSet.0.value")),
        ("a".to_owned(), "test".to_owned())
    );
    let listed = |form: &str| ec2.call("DescribeKeyPairs", form).unwrap();
    let all = listed("IncludePublicKey=true");
    assert_eq!(text(&all, "keySet.0.keyType").as_deref(), Some("ed25519"));
    assert_eq!(text(&all, "keySet.0.keyFingerprint"), Some(of("keyFingerprint")));
    // EC2 has the name of the pair as the comment of its key.
    let key = text(&all, "keySet.0.publicKey").unwrap();
    assert!(key.starts_with("ssh-ed25519 ") && key.ends_with(" a"), "{key}");
    assert_eq!(text(&listed(""), "keySet.0.publicKey"), None);
    assert_eq!(text(&listed(""), "keySet.0.keyMaterial"), None);
    ec2.call(
        "CreateTags",
        &format!("ResourceId.1={}&Tag.1.Key=b&Tag.1.Value=c", of("keyPairId")),
    )
    .unwrap();
    for (form, found) in [
        ("Filter.1.Name=key-name&Filter.1.Value.1=a", 1),
        ("Filter.1.Name=key-name&Filter.1.Value.1=b", 0),
        ("Filter.1.Name=tag%3Ab&Filter.1.Value.1=c", 1),
        (
            &format!(
                "Filter.1.Name=fingerprint&Filter.1.Value.1={}",
                encoded(&of("keyFingerprint"))
            ),
            1,
        ),
        (
            &format!("Filter.1.Name=key-pair-id&Filter.1.Value.1={}", of("keyPairId")),
            1,
        ),
        (&format!("KeyPairId.1={}&KeyName.1=a", of("keyPairId")), 1),
    ] {
        assert_eq!(count(&listed(form), "keySet"), found, "{form}");
    }
}

#[test]
fn an_imported_key_has_its_own_name_and_one_that_is_deleted_is_no_error_later() {
    let ec2 = Endpoint::new();
    let import = |name: &str, key: &str| format!("KeyName={name}&PublicKeyMaterial={}", material(key));
    let imported = ec2
        .call("ImportKeyPair", &import("b", &format!("{KEY} me@example")))
        .unwrap();
    assert_eq!(
        text(&imported, "keyFingerprint").as_deref(),
        Some("s8PYuh6lQKAp4z36IklYaWJHfRV2vmMrJGSmFEXMU7I=")
    );
    let key = ec2.get(
        "DescribeKeyPairs",
        "KeyName.1=b&IncludePublicKey=true",
        "keySet.0.publicKey",
    );
    assert_eq!(key, format!("{KEY} b"));
    for (action, form, code) in [
        ("ImportKeyPair", import("b", KEY), "InvalidKeyPair.Duplicate"),
        ("CreateKeyPair", "KeyName=b".to_owned(), "InvalidKeyPair.Duplicate"),
        ("ImportKeyPair", import("c", "garbage"), "InvalidKeyPair.Format"),
        (
            "ImportKeyPair",
            "KeyName=c&PublicKeyMaterial=%25".to_owned(),
            "InvalidParameterValue",
        ),
        (
            "CreateKeyPair",
            "KeyName=c&KeyType=dsa".to_owned(),
            "InvalidParameterValue",
        ),
        (
            "CreateKeyPair",
            "KeyName=c&KeyFormat=ppk".to_owned(),
            "UnsupportedOperation",
        ),
        ("CreateKeyPair", "KeyType=rsa".to_owned(), "MissingParameter"),
        ("DescribeKeyPairs", "KeyName.1=c".to_owned(), "InvalidKeyPair.NotFound"),
        (
            "DescribeKeyPairs",
            "KeyPairId.1=key-00000000000000001".to_owned(),
            "InvalidKeyPair.NotFound",
        ),
        ("DeleteKeyPair", String::new(), "MissingParameter"),
        (
            "DeleteKeyPair",
            "KeyName=b&KeyPairId=key-00000000000000001".to_owned(),
            "InvalidParameterCombination",
        ),
    ] {
        assert_eq!(ec2.refusal(action, &form).0, code, "{action} {form}");
    }
    let id = text(&imported, "keyPairId");
    let deleted = ec2.call("DeleteKeyPair", "KeyName=b").unwrap();
    assert_eq!(
        (text(&deleted, "return").as_deref(), text(&deleted, "keyPairId")),
        (Some("true"), id)
    );
    let again = ec2.call("DeleteKeyPair", "KeyName=b").unwrap();
    assert_eq!(
        (text(&again, "return").as_deref(), text(&again, "keyPairId")),
        (Some("true"), None)
    );
    assert_eq!(count(&ec2.call("DescribeKeyPairs", "").unwrap(), "keySet"), 0);
}
