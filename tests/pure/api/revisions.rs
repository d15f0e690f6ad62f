//! Tests versions of resources, conditions, keys of requests, the history, and questions about the past.

use std::time::Duration;

use localvpc::api::client::EventStream;
use localvpc::model::{Command, ResourceRef};
use serde_json::{Value, json};

use crate::support::api::{Answer, Server};

/// The version and the revision of an answer.
fn version(answer: &Answer) -> (String, u64) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let revision = answer.header("localvpc-revision").unwrap().parse().unwrap();
    (answer.header("etag").unwrap().to_owned(), revision)
}

const JSON: &str = "Content-Type: application/json";

impl Server {
    async fn patch_if(&self, path: &str, version: &str, body: &Value) -> Answer {
        let condition = format!("If-Match: {version}");
        self.ask("PATCH", path, &[JSON, &condition], &body.to_string()).await
    }

    async fn read(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }
}

#[tokio::test]
async fn an_edit_of_another_version_of_a_resource_is_refused_and_one_of_this_version_is_not() {
    let server = Server::furnished().await;
    let table = server.client.get("/v1/vpcs/home").await.unwrap()["main_route_table_id"].clone();
    let table = format!("/v1/route-tables/{}", table.as_str().unwrap());
    for (path, body) in [
        ("/v1/vpcs/home", json!({ "tags": { "a": "1" } })),
        ("/v1/subnets/left", json!({ "tags": { "a": "1" } })),
        ("/v1/interfaces/a", json!({ "description": "first" })),
        (&*table, json!({ "tags": { "a": "1" } })),
    ] {
        let (first, before) = version(&server.read(path).await);
        for wrong in ["\"zzz\"", "zzz", "W/\"zzz\"", "\"\""] {
            let refused = server.patch_if(path, wrong, &body).await;
            refused.assert_problem(412, "PreconditionFailed", Some("If-Match"));
            assert_eq!(refused.header("etag"), Some(&*first), "{path}");
            assert_eq!(
                refused.header("localvpc-revision"),
                Some(&*before.to_string()),
                "{path}"
            );
        }
        let taken = server.patch_if(path, &first, &body).await;
        assert_eq!(taken.status, 200, "{path}: {taken:?}");
        assert_eq!(
            taken.header("localvpc-revision"),
            Some(&*(before + 1).to_string()),
            "{path}"
        );
        let (second, after) = version(&server.read(path).await);
        assert_eq!(after, before + 1);
        assert_eq!(taken.header("etag"), Some(&*second), "{path}: no further GET is needed");
        assert_ne!(second, first, "{path}");
        server
            .patch_if(path, &first, &json!({}))
            .await
            .assert_problem(412, "PreconditionFailed", Some("If-Match"));
        let kept = server
            .ask("GET", path, &[&format!("If-None-Match: {second}")], "")
            .await;
        assert_eq!((kept.status, &*kept.body), (304, ""), "{path}");
    }
    // What an interface shows changes with its addresses, and an action on it asks for its version.
    let (first, _) = version(&server.read("/v1/interfaces/a").await);
    let put = server.ask(
        "PUT",
        "/v1/mappings/left/10.0.1.50",
        &[JSON, "If-None-Match: *"],
        r#"{"interface":"a"}"#,
    );
    assert_eq!(put.await.status, 201);
    let again = server.ask(
        "PUT",
        "/v1/mappings/left/10.0.1.50",
        &[JSON, "If-None-Match: *"],
        r#"{"interface":"b"}"#,
    );
    again
        .await
        .assert_problem(412, "PreconditionFailed", Some("If-None-Match"));
    let condition = format!("If-Match: {first}");
    let headers = [JSON, &condition];
    let path = "/v1/interfaces/a/addresses";
    let assign = server
        .ask("POST", path, &headers, r#"{"addresses":["10.0.1.51"]}"#)
        .await;
    assign.assert_problem(412, "PreconditionFailed", Some("If-Match"));
    let gone = server.ask("DELETE", "/v1/interfaces/a", &[&condition], "").await;
    let never = server.ask("PUT", "/v1/vpcs", &["If-Match: \"zzz\""], "{}").await;
    never.assert_problem(405, "InvalidAction", Some("method"));
    gone.assert_problem(412, "PreconditionFailed", Some("If-Match"));
    let absent = server.ask("DELETE", "/v1/interfaces/none", &["If-Match: *"], "").await;
    absent.assert_problem(412, "PreconditionFailed", Some("If-Match"));
    server.stop().await;
}

/// Clients that read, add one and write with a condition lose none of each other's additions.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conditional_edits_of_many_clients_lose_nothing() {
    let server = Server::furnished().await;
    let server = &server;
    let add = |_| async move {
        let mut added = 0;
        while added < 10 {
            let answer = server.read("/v1/interfaces/a").await;
            let count: u64 = answer.json()["description"]
                .as_str()
                .unwrap_or_default()
                .parse()
                .unwrap_or(0);
            let body = json!({ "description": (count + 1).to_string() });
            // Another resource moves the network on all the time.
            let noise = json!({ "description": format!("{added} {count}") });
            server.client.patch("/v1/interfaces/b", &noise).await.unwrap();
            let written = server.patch_if("/v1/interfaces/a", &version(&answer).0, &body).await;
            match written.status {
                200 => added += 1,
                412 => {}
                _ => panic!("{written:?}"),
            }
        }
    };
    futures_util::future::join_all((0..6).map(add)).await;
    let last = server.client.get("/v1/interfaces/a").await.unwrap();
    assert_eq!(last["description"], "60");
}

#[tokio::test]
async fn a_request_that_comes_again_with_its_key_is_carried_out_once() {
    let server = Server::furnished().await;
    let body = json!({ "subnet": "left", "ipv4_address_count": 1 }).to_string();
    let post = |key: &'static str, body: String| {
        let server = &server;
        async move {
            let key = format!("Idempotency-Key: {key}");
            server.ask("POST", "/v1/interfaces", &[JSON, &key], &body).await
        }
    };
    let first = post("\"k-1\"", body.clone()).await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (201, None));
    for key in ["\"k-1\"", "k-1"] {
        let again = post(key, body.clone()).await;
        assert_eq!((again.status, &again.body), (201, &first.body));
        assert_eq!(again.header("location"), first.header("location"));
        assert_eq!(again.header("localvpc-revision"), first.header("localvpc-revision"));
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
    }
    let other = post("k-1", json!({ "subnet": "left" }).to_string()).await;
    other.assert_problem(422, "IdempotentParameterMismatch", Some("Idempotency-Key"));
    assert_ne!(post("k-2", body.clone()).await.body, first.body);
    for wrong in ["", "\"\"", "a b"] {
        let refused = post(wrong, body.clone()).await;
        refused.assert_problem(400, "InvalidParameterValue", Some("Idempotency-Key"));
    }
    let all = server.client.get("/v1/interfaces").await.unwrap();
    assert_eq!(all["interfaces"].as_array().unwrap().len(), 4);
    // A request that comes twice at once is carried out once as well.
    let (one, two) = tokio::join!(post("k-3", body.clone()), post("k-3", body.clone()));
    let statuses = [one.status, two.status];
    assert!(
        statuses.contains(&201) && statuses.iter().all(|status| [201, 409].contains(status)),
        "{statuses:?}"
    );
    let all = server.client.get("/v1/interfaces").await.unwrap();
    assert_eq!(all["interfaces"].as_array().unwrap().len(), 5);
    server.stop().await;
}

#[tokio::test]
async fn the_history_says_who_did_what_and_undoing_takes_it_back() {
    let server = Server::furnished().await;
    let before = server.client.get("/v1/mappings").await.unwrap();
    let edit = json!({ "edits": [{ "op": "assign", "address": "10.0.1.60", "interface": "a" }] });
    server.client.post("/v1/mappings/bulk", &edit).await.unwrap();
    let form = ["Content-Type: application/x-www-form-urlencoded"];
    let ec2 = "Action=CreateVpc&Version=2016-11-15&CidrBlock=10.9.0.0/16";
    assert_eq!(server.ask("POST", "/", &form, ec2).await.status, 200);
    let history = server.client.get("/v1/revisions?limit=3").await.unwrap();
    let latest: Vec<(u64, &str, &str)> = history["revisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (
                one["revision"].as_u64().unwrap(),
                one["author"].as_str().unwrap(),
                one["command"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        latest,
        [
            (6, "ec2", "CreateVpc"),
            (5, "rest", "EditMappings"),
            (4, "rest", "CreateInterface")
        ]
    );
    assert_eq!(history["revisions"][1]["changed"], json!(["1 mapping"]));
    let next = history["next_cursor"].as_str().unwrap();
    let rest = server
        .client
        .get(&format!("/v1/revisions?cursor={next}"))
        .await
        .unwrap();
    assert_eq!(rest["revisions"].as_array().unwrap().len(), 3);
    assert!(rest["next_cursor"].is_null());
    let one = server.client.get("/v1/revisions/5").await.unwrap();
    assert_eq!(one["changes"][0]["mappings"][0]["address"], "10.0.1.60");
    // Twice undone is not done again.
    for (undone, revision) in [(6, 7), (5, 8)] {
        let answer = server.client.call(hyper::Method::POST, "/v1/undo", None).await.unwrap();
        assert_eq!(
            (&answer["undone"], &answer["revision"]),
            (&json!(undone), &json!(revision))
        );
    }
    assert_eq!(server.client.get("/v1/mappings").await.unwrap(), before);
    assert_eq!(
        server.client.get("/v1/vpcs").await.unwrap()["vpcs"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    for _ in 0..4 {
        server.client.call(hyper::Method::POST, "/v1/undo", None).await.unwrap();
    }
    let nothing = server.ask("POST", "/v1/undo", &[], "").await;
    assert_eq!(nothing.status, 422, "{nothing:?}");
    server.stop().await;
}

#[tokio::test]
async fn lists_and_explanations_of_the_past_are_those_that_were_given_then() {
    let server = Server::furnished().await;
    let lists = [
        "/v1/vpcs",
        "/v1/subnets",
        "/v1/interfaces",
        "/v1/mappings",
        "/v1/route-tables",
        "/v1/topology",
    ];
    let question = json!({ "from": "a", "to": "10.0.1.50" });
    let mut then = Vec::new();
    let edits = [
        ("PUT", "/v1/mappings/left/10.0.1.50", json!({ "interface": "b" })),
        (
            "PATCH",
            "/v1/interfaces/b",
            json!({ "source_dest_check": false, "name": "other" }),
        ),
        ("PUT", "/v1/mappings/left/10.0.1.50", json!({ "interface": "a" })),
        ("DELETE", "/v1/interfaces/other", Value::Null),
        (
            "POST",
            "/v1/vpcs",
            json!({ "name": "late", "cidr_blocks": ["10.7.0.0/16"] }),
        ),
    ];
    for (method, path, body) in edits {
        let mut answers = Vec::new();
        for list in lists {
            answers.push(server.read(list).await.json());
        }
        let explained = server.ask("POST", "/v1/explain", &[JSON], &question.to_string()).await;
        let (_, revision) = version(&server.read("/v1/vpcs").await);
        then.push((revision, answers, explained.json()));
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let done = server.ask(method, path, &[JSON], &text).await;
        assert!(done.status < 300, "{method} {path}: {done:?}");
    }
    for (revision, answers, explained) in then {
        for (list, before) in lists.iter().zip(answers) {
            let now = server.read(&format!("{list}?at={revision}")).await;
            assert_eq!(now.header("localvpc-revision"), Some(&*revision.to_string()));
            assert_eq!(now.json(), before, "{list} at {revision}");
        }
        let path = format!("/v1/explain?at={revision}");
        let again = server.ask("POST", &path, &[JSON], &question.to_string()).await;
        assert_eq!(again.json()["frames"], explained["frames"], "at {revision}");
    }
    for (at, status, field) in [("99999", 404, "at"), ("yesterday", 400, "at"), ("-1", 400, "at")] {
        let refused = server.read(&format!("/v1/vpcs?at={at}")).await;
        assert_eq!(
            (refused.status, refused.json()["field"].as_str()),
            (status, Some(field)),
            "{at}: {refused:?}"
        );
    }
    let none = server.read("/v1/vpcs?at=2001-01-01T00:00:00Z").await;
    assert_eq!(none.json()["vpcs"], json!([]));
    server.stop().await;
}

async fn next(stream: &mut EventStream) -> (Option<String>, Value) {
    let event = tokio::time::timeout(Duration::from_secs(5), stream.next())
        .await
        .expect("an event comes");
    let event = event.unwrap().expect("the stream goes on");
    (event.id, serde_json::from_str(&event.data).unwrap())
}

#[tokio::test]
async fn events_go_on_after_any_revision_that_is_kept() {
    let server = Server::furnished().await;
    let mut stream = server.client.events("/v1/events?after_revision=1", None).await.unwrap();
    let mut heard = Vec::new();
    let mut last = None;
    for _ in 0..5 {
        let (id, data) = next(&mut stream).await;
        heard.push((
            data["revision"].as_u64().unwrap(),
            data["type"].as_str().unwrap().to_owned(),
        ));
        last = id;
    }
    let expected = [
        "subnet_created",
        "interface_created",
        "mappings_changed",
        "interface_created",
        "mappings_changed",
    ];
    assert_eq!(heard.iter().map(|(_, kind)| &**kind).collect::<Vec<_>>(), expected);
    assert_eq!(
        heard.iter().map(|(revision, _)| *revision).collect::<Vec<_>>(),
        [2, 3, 3, 4, 4]
    );
    // Then what happens, once.
    server
        .client
        .patch("/v1/interfaces/a", &json!({ "description": "x" }))
        .await
        .unwrap();
    let (_, data) = next(&mut stream).await;
    assert_eq!(
        (data["revision"].as_u64(), data["type"].as_str()),
        (Some(5), Some("interface_modified"))
    );
    // And a client that comes back with the identifier of an event of the past goes on there.
    let mut again = server.client.events("/v1/events", last.as_deref()).await.unwrap();
    let (_, data) = next(&mut again).await;
    assert_eq!(data["revision"], 5);
    let gone = server.ask("GET", "/v1/events?after_revision=99", &[], "").await;
    assert_eq!(
        (gone.status, gone.json()["field"].as_str()),
        (422, Some("after_revision")),
        "{gone:?}"
    );
    drop((stream, again));
    server.stop().await;
}

/// What an explanation says at a revision is what it said then, for thousands of packets between random edits.
#[tokio::test]
async fn the_verdicts_of_the_past_are_those_of_then() {
    use localvpc::control::explain::{ExplainRequest, FrameSpec, PacketSpec, Protocol, Target};
    use localvpc::model::interface::ModifyInterface;
    use localvpc::model::mapping::{EditMappings, MappingEdit};
    use rand::{RngExt, SeedableRng};

    let server = Server::furnished().await;
    let controller = server.controller.clone();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(9);
    let reference = |name: &str| ResourceRef::new(name);
    let ask = |controller: &localvpc::control::Controller, from: &str, to: u8| {
        let packet = PacketSpec {
            to: Target::Address([10, 0, 1, to].into()),
            source: None,
            protocol: Protocol::Icmp,
            source_port: 0,
            destination_port: 0,
            destination_mac: None,
        };
        let explained = controller.explain(ExplainRequest {
            interface: ResourceRef::new(from),
            frame: FrameSpec::Packet(packet),
            both: true,
        });
        explained
            .map(|explained| serde_json::to_value(explained).unwrap())
            .map_err(|error| error.to_string())
    };
    fn accept<C: Command>(controller: &localvpc::control::Controller, command: C)
    where
        localvpc::control::ControlError: From<C::Error>,
    {
        // One that is refused is no edit.
        let _ = controller.execute(command);
    }
    let mut recorded = Vec::new();
    for _ in 0..100 {
        let name = ["a", "b"][rng.random_range(0..2)];
        let address =
            localvpc::model::AddressOrPrefix::from(std::net::IpAddr::from([10, 0, 1, rng.random_range(10..20)]));
        match rng.random_range(0..3) {
            0 => accept(
                &controller,
                ModifyInterface {
                    source_dest_check: Some(rng.random()),
                    ..ModifyInterface::new(reference(name))
                },
            ),
            1 => accept(
                &controller,
                EditMappings(vec![MappingEdit::Unassign {
                    interface: reference(name),
                    address,
                }]),
            ),
            _ => accept(
                &controller,
                EditMappings(vec![MappingEdit::Assign {
                    interface: reference(name),
                    address,
                    move_allowed: true,
                }]),
            ),
        }
        let revision = controller.revision();
        for to in 10..20 {
            for from in ["a", "b"] {
                recorded.push((revision, from, to, ask(&controller, from, to)));
            }
        }
    }
    let mut past = (0, controller.clone());
    for (revision, from, to, then) in &recorded {
        if past.0 != *revision {
            past = (*revision, controller.at(*revision).unwrap());
        }
        assert_eq!(ask(&past.1, from, *to), *then, "{from} to 10.0.1.{to} at {revision}");
    }
    assert!(
        recorded.len() == 2000 && controller.revision() > 30,
        "{}",
        controller.revision()
    );
    server.stop().await;
}

#[tokio::test]
async fn every_list_takes_the_filters_that_its_entries_have_and_has_pages() {
    let server = Server::furnished().await;
    let second = json!({ "name": "other", "cidr_blocks": ["10.8.0.0/16"], "tags": { "team": "net" } });
    server.client.post("/v1/vpcs", &second).await.unwrap();
    let tags = json!({ "tags": { "team": "net", "zone": "x" } });
    server.client.patch("/v1/interfaces/b", &tags).await.unwrap();
    let mac = server.client.get("/v1/interfaces/b").await.unwrap()["mac_address"].clone();
    let mac = mac.as_str().unwrap();
    for (query, names) in [
        ("vpcs?name=home", vec!["home"]),
        ("vpcs?tag=team", vec!["other"]),
        ("vpcs?tag=team=net&name=home", vec![]),
        ("subnets?vpc=home", vec!["left"]),
        ("subnets?vpc=other", vec![]),
        ("interfaces?vpc=home&limit=1&name=b", vec!["b"]),
        ("interfaces?tag=team&tag=zone=x", vec!["b"]),
        ("interfaces?tag=team&tag=zone=y", vec![]),
        ("interfaces?status=available&name=a", vec!["a"]),
        ("interfaces?status=in-use", vec![]),
        (&*format!("interfaces?mac={mac}"), vec!["b"]),
        ("interfaces?subnet=left&name=a", vec!["a"]),
    ] {
        let answer = server.client.get(&format!("/v1/{query}")).await.unwrap();
        let list = query.split('?').next().unwrap();
        let found: Vec<&str> = answer[list]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["name"].as_str().unwrap())
            .collect();
        assert_eq!(found, names, "{query}: {answer}");
    }
    let mappings = server
        .client
        .get(&format!("/v1/mappings?mac={mac}&vpc=home"))
        .await
        .unwrap();
    assert_eq!(mappings["mappings"].as_array().unwrap().len(), 1);
    // Pages of one entry each come to the whole list.
    for list in ["vpcs", "route-tables", "interfaces", "mappings"] {
        let field = list.replace('-', "_");
        let whole = server.client.get(&format!("/v1/{list}")).await.unwrap()[&field]
            .as_array()
            .unwrap()
            .len();
        for filter in ["", "&vpc=home"] {
            let (mut cursor, mut count) = (String::new(), 0);
            loop {
                let page = server
                    .client
                    .get(&format!("/v1/{list}?limit=1{filter}{cursor}"))
                    .await
                    .unwrap();
                count += page[&field].as_array().unwrap().len();
                match page["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={}", next.replace('/', "%2F")),
                    None => break,
                }
            }
            let other = usize::from(!filter.is_empty() && ["vpcs", "route-tables"].contains(&list));
            assert_eq!(count + other, whole, "{list}{filter}");
        }
    }
    for (query, status, field) in [
        ("vpcs?mac=02:00:00:00:00:01", 400, "mac"),
        ("dhcp-options?vpc=home", 400, "vpc"),
        ("interfaces?mac=x", 400, "mac"),
        ("vpcs?limit=0", 400, "limit"),
        ("subnets?vpc=none", 422, "vpc"),
    ] {
        let refused = server.read(&format!("/v1/{query}")).await;
        assert_eq!(
            (refused.status, refused.json()["field"].as_str()),
            (status, Some(field)),
            "{query}: {refused:?}"
        );
    }
    server.stop().await;
}
