//! Stock clients of EC2 against the Query API: botocore holds every answer to the service model, and the AWS command line moves
//! an address that packets follow.

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::cli::{Server, code, file, free_port, stdout};
use crate::support::python::environment;
use crate::support::tools::needs;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");

fn says(output: &Output) -> String {
    stdout(output) + &String::from_utf8_lossy(&output.stderr)
}

#[test]
#[ignore = "needs root: make test"]
fn botocore_understands_every_answer_and_its_model_has_every_element() {
    let python = environment("python-ec2", &format!("{FOLDER}/requirements.txt")).join("python");
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let server = Server::start(&folder, &["serve", "--listen", &listen]);
    let listed = localvpc::api::ec2::action_names();
    assert!(listed.len() > 30, "{listed:?}");
    let run = Command::new(python)
        .arg(format!("{FOLDER}/ec2.py"))
        .arg(format!("http://{listen}"))
        .args(listed)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", says(&run));
    assert!(stdout(&run).contains(" 0 failures"), "{}", says(&run));
    server.stop();
}

const NETWORK: &str = "
vpcs: { v: { cidr_blocks: [10.0.0.0/16] } }
subnets: { s: { vpc: v, cidr_block: 10.0.1.0/24 } }
instances:
  one: { subnet: s, ipv4: [10.0.1.11, 10.0.1.50] }
  two: { subnet: s, ipv4: [10.0.1.12] }
  three: { subnet: s, ipv4: [10.0.1.13] }
";

#[test]
#[ignore = "needs root: make test"]
fn the_aws_command_line_moves_an_address_and_packets_follow() {
    needs("aws", "awscli");
    let folder = tempfile::tempdir().unwrap();
    let network = file(&folder, "network.yaml", NETWORK);
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let server = Server::start(&folder, &["up", "--allow-exec", &network, "--listen", &listen]);
    let aws = |arguments: &[&str]| {
        // Debian's version has no variable for the endpoint.
        Command::new("aws")
            .args(["--endpoint-url", &format!("http://{listen}"), "--output", "json", "ec2"])
            .args(arguments)
            .env("AWS_ACCESS_KEY_ID", "x")
            .env("AWS_SECRET_ACCESS_KEY", "y")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_MAX_ATTEMPTS", "1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("HOME", folder.path())
            .output()
            .unwrap()
    };
    let exec = |host: &str, command: &[&str]| {
        let mut arguments = vec!["exec", host];
        arguments.extend(command);
        server.ask(&arguments)
    };

    let filter = "Name=tag:Name,Values=two";
    let described = aws(&["describe-network-interfaces", "--filters", filter]);
    assert_eq!(code(&described), 0, "{}", says(&described));
    let described: Value = serde_json::from_str(&stdout(&described)).unwrap();
    let two = &described["NetworkInterfaces"][0];
    let (id, mac) = (
        two["NetworkInterfaceId"].as_str().unwrap(),
        two["MacAddress"].as_str().unwrap(),
    );
    assert_eq!(two["Status"], "in-use");

    let to_two = [
        "assign-private-ip-addresses",
        "--network-interface-id",
        id,
        "--private-ip-addresses",
        "10.0.1.50",
    ];
    let refused = aws(&to_two);
    assert_ne!(code(&refused), 0);
    assert!(
        says(&refused).contains("[10.0.1.50] assigned, but move is not allowed."),
        "{}",
        says(&refused)
    );
    let moved = aws(&[&to_two[..], &["--allow-reassignment"]].concat());
    assert_eq!(code(&moved), 0, "{}", says(&moved));

    // As on EC2 the host has to configure the address itself.
    let added = exec("two", &["ip", "address", "add", "10.0.1.50/24", "dev", "eth0"]);
    assert_eq!(code(&added), 0, "{}", says(&added));
    let pinged = exec("three", &["ping", "-c", "1", "-W", "2", "10.0.1.50"]);
    assert_eq!(code(&pinged), 0, "{}", says(&pinged));
    let neighbor = stdout(&exec("three", &["ip", "neigh", "show", "10.0.1.50"]));
    assert!(neighbor.contains(mac), "{neighbor} is not at {mac}");

    // The agent awsvip greps the addresses of its instance.
    let place = two["Attachment"]["InstanceId"].as_str().unwrap();
    let query = "Reservations[].Instances[].NetworkInterfaces[].PrivateIpAddresses[].PrivateIpAddress[]";
    let listed = aws(&["describe-instances", "--instance-ids", place, "--query", query]);
    assert!(stdout(&listed).contains("\"10.0.1.50\""), "{}", says(&listed));
    server.stop();
}
