//! Laws of launch templates, each as a sentence.

use serde_json::json;

use super::*;
use crate::model::network::tests::World;

fn data(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

#[test]
fn versions_are_numbered_once_and_the_default_one_stays() {
    let mut world = World::new();
    let at = SystemTime::UNIX_EPOCH;
    let create = |name: &str| CreateLaunchTemplate {
        template_name: name.to_owned(),
        description: String::new(),
        data: data(&json!({"ImageId": "ami-1", "KeyName": "k"})),
        tags: Tags::new(),
        at,
    };
    let template = world.execute(create("web.1")).unwrap();
    let code = world.execute(create("web.1")).unwrap_err().code();
    assert_eq!(code, "InvalidLaunchTemplateName.AlreadyExistsException");
    for wrong in ["", "ab", "a b c", &"x".repeat(129)] {
        let code = world.execute(create(wrong)).unwrap_err().code();
        assert_eq!(code, "InvalidLaunchTemplateName.MalformedException", "{wrong}");
    }
    let add = |source| AddTemplateVersion {
        template: template.id,
        source,
        description: String::new(),
        data: data(&json!({"ImageId": "ami-2"})),
        at,
    };
    let second = world.execute(add(Some(VersionRef::Default))).unwrap();
    assert_eq!(
        second.version(VersionRef::Latest).unwrap().data,
        data(&json!({"ImageId": "ami-2", "KeyName": "k"}))
    );
    let delete = |number| DeleteTemplateVersion {
        template: template.id,
        number,
    };
    assert_eq!(world.execute(delete(1)).unwrap_err().code(), "OperationNotPermitted");
    world.execute(delete(2)).unwrap();
    let code = world.execute(delete(2)).unwrap_err().code();
    assert_eq!(code, "InvalidLaunchTemplateId.VersionNotFound");
    // The number of a deleted version is not given again.
    let third = world.execute(add(None)).unwrap();
    let latest = third.version(VersionRef::Latest).unwrap();
    assert_eq!((latest.number, &latest.data), (3, &data(&json!({"ImageId": "ami-2"}))));
    let modify = ModifyLaunchTemplate {
        template: template.id,
        default_version: Some(VersionRef::Latest),
        tags: None,
    };
    assert_eq!(world.execute(modify).unwrap().default_version, 3);
    world.execute(delete(1)).unwrap();
    world.execute(DeleteLaunchTemplate(template.id)).unwrap();
    let gone = world.network.launch_template(template.id).unwrap_err();
    assert_eq!(gone.code(), "InvalidLaunchTemplateId.NotFound");
}
