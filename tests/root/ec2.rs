//! Stock clients of EC2 against the Query API: botocore holds every answer to the service model, and the AWS command line moves
//! an address that packets follow.

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::cli::{Server, code, file, free_port, run, stdout};
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

#[test]
#[ignore = "needs root: make test"]
fn a_throttled_endpoint_refuses_what_is_beyond_the_documented_rate_and_botocore_s_retries_get_through() {
    let python = environment("python-ec2", &format!("{FOLDER}/requirements.txt")).join("python");
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let server = Server::start(
        &folder,
        &["serve", "--ec2-throttling", "--ec2", "off", "--listen", &listen],
    );
    let run = Command::new(python)
        .arg(format!("{FOLDER}/ec2_throttled.py"))
        .arg(format!("http://{listen}"))
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", says(&run));
    assert!(stdout(&run).ends_with("ok\n"), "{}", says(&run));
    server.stop();
}

#[test]
#[ignore = "needs root: make test"]
fn an_imported_network_is_described_as_the_one_that_it_was_taken_from() {
    let python = environment("python-ec2", &format!("{FOLDER}/requirements.txt")).join("python");
    let script = |arguments: &[&str]| {
        let mut run = Command::new(&python);
        run.arg(format!("{FOLDER}/ec2_import.py"))
            .args(arguments)
            .output()
            .unwrap()
    };
    let (folder, lists) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (account, copy) = (
        format!("127.0.0.1:{}", free_port()),
        format!("127.0.0.1:{}", free_port()),
    );
    let (account_url, copy_url) = (format!("http://{account}"), format!("http://{copy}"));
    let server = Server::start(&folder, &["serve", "--ec2", "off", "--listen", &account]);
    for arguments in [
        &["make", &account_url][..],
        &["dump", &account_url, lists.path().to_str().unwrap()],
    ] {
        let run = script(arguments);
        assert!(run.status.success(), "{}", says(&run));
    }
    let mut files: Vec<String> = std::fs::read_dir(lists.path())
        .unwrap()
        .map(|file| file.unwrap().path().display().to_string())
        .collect();
    files.sort();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let imported = run(&[&["import"][..], &files].concat());
    assert_eq!(code(&imported), 0, "{}", says(&imported));
    // The region's DHCP option set is listed too, and is there anyway.
    let left = String::from_utf8_lossy(&imported.stderr).into_owned();
    assert_eq!(left, "", "all of it is carried");
    let file = file(&folder, "imported.yaml", &stdout(&imported));
    let other = tempfile::tempdir().unwrap();
    let copied = Server::start(&other, &["up", &file, "--ec2", "off", "--listen", &copy]);
    let compared = script(&["compare", &account_url, &copy_url]);
    assert!(compared.status.success(), "{}\n{}", says(&compared), stdout(&imported));
    copied.stop();

    // A running server takes it as well.
    let empty = Server::start(&other, &["serve", "--ec2", "off", "--listen", &copy]);
    let applied = empty.ask(&[&["import", "--apply"][..], &files].concat());
    assert_eq!(code(&applied), 0, "{}", says(&applied));
    let compared = script(&["compare", &account_url, &copy_url]);
    assert!(compared.status.success(), "{}", says(&compared));
    empty.stop();
    server.stop();
}

/// An AWS command line at an endpoint, with credentials that are good for nothing.
fn aws_at(listen: &str, home: &std::path::Path, arguments: &[&str]) -> Output {
    // Debian's version has no variable for the endpoint.
    Command::new("aws")
        .args(["--endpoint-url", &format!("http://{listen}"), "--output", "json", "ec2"])
        .args(arguments)
        .env("AWS_ACCESS_KEY_ID", "x")
        .env("AWS_SECRET_ACCESS_KEY", "y")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_MAX_ATTEMPTS", "1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("HOME", home)
        .output()
        .unwrap()
}

fn answer(output: &Output) -> Value {
    assert_eq!(code(output), 0, "{}", says(output));
    serde_json::from_str(&stdout(output)).unwrap_or_default()
}

#[test]
#[ignore = "needs root: make test"]
fn instances_come_up_as_hosts_are_fenced_and_are_gone_when_terminated() {
    needs("aws", "awscli");
    let folder = tempfile::tempdir().unwrap();
    let network = file(&folder, "network.yaml", NETWORK);
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let server = Server::start(
        &folder,
        &["up", "--allow-exec", &network, "--listen", &listen, "--ec2", "off"],
    );
    let aws = |arguments: &[&str]| aws_at(&listen, folder.path(), arguments);
    let exec = |host: &str, line: &str| server.ask(&["exec", host, "--", "sh", "-c", line]);
    let until = |host: &str, line: &str, wanted: bool| {
        let began = std::time::Instant::now();
        while (code(&exec(host, line)) == 0) != wanted {
            assert!(began.elapsed().as_secs() < 30, "{line} in {host} is not {wanted}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    let subnets = answer(&aws(&["describe-subnets"]));
    let subnet = subnets["Subnets"][0]["SubnetId"].as_str().unwrap().to_owned();
    let tags = "ResourceType=instance,Tags=[{Key=Name,Value=node}]";
    let image = "ami-0123456789abcdef0";
    let launched = answer(&aws(&[
        "run-instances",
        "--image-id",
        image,
        "--subnet-id",
        &subnet,
        "--private-ip-address",
        "10.0.1.77",
        "--tag-specifications",
        tags,
        "--user-data",
        "#!/bin/sh",
    ]));
    let node = launched["Instances"][0]["InstanceId"].as_str().unwrap().to_owned();
    assert_eq!(launched["Instances"][0]["State"]["Name"], "pending");
    assert_eq!(code(&aws(&["wait", "instance-running", "--instance-ids", &node])), 0);
    // It is a host with its address, its own metadata, and the name that it was tagged with.
    until("one", "ping -c 1 -W 1 10.0.1.77", true);
    let metadata = exec("node", "curl -s http://169.254.169.254/latest/meta-data/instance-id");
    assert_eq!(stdout(&metadata), node, "{}", says(&metadata));

    // A further interface appears while it runs, and stays attached while it is off.
    let further = answer(&aws(&["create-network-interface", "--subnet-id", &subnet]));
    let further = further["NetworkInterface"]["NetworkInterfaceId"]
        .as_str()
        .unwrap()
        .to_owned();
    answer(&aws(&[
        "attach-network-interface",
        "--network-interface-id",
        &further,
        "--instance-id",
        &node,
        "--device-index",
        "1",
    ]));
    until("node", "ip link show dev eth1", true);

    // A program that moves an address when it is asked to end, as a notify script does.
    let run_in = |host: &str, address: &str, interface: &str| {
        let script = format!(
            r#"cat >/run/s <<'END'
            trap 'curl -s --unix-socket /run/localvpc.sock --json "{{\"ipv4_addresses\": [\"{address}\"]}}" \
                  http://localhost/v1/interfaces/{interface}/addresses; exit' TERM
            while :; do sleep 0.1; done
END
            setsid sh /run/s >/dev/null 2>&1 &"#
        );
        let started = exec(host, &script);
        assert_eq!(code(&started), 0, "{}", says(&started));
        std::thread::sleep(std::time::Duration::from_millis(500));
    };
    let assigned = |address: &str| stdout(&server.ask(&["mappings"])).contains(address);
    run_in("node", "10.0.1.61", &further);
    let stopped = answer(&aws(&["stop-instances", "--instance-ids", &node, "--force"]));
    assert_eq!(stopped["StoppingInstances"][0]["CurrentState"]["Name"], "stopping");
    // Off before the answer: who fences may take over at once.
    assert!(!assigned("10.0.1.61"), "it was asked to end");
    assert_ne!(code(&exec("one", "ping -c 1 -W 1 10.0.1.77")), 0);
    assert_eq!(code(&aws(&["wait", "instance-stopped", "--instance-ids", &node])), 0);
    let held = answer(&aws(&[
        "describe-network-interfaces",
        "--network-interface-ids",
        &further,
    ]));
    assert_eq!(held["NetworkInterfaces"][0]["Attachment"]["InstanceId"], node.as_str());

    answer(&aws(&["start-instances", "--instance-ids", &node]));
    assert_eq!(code(&aws(&["wait", "instance-running", "--instance-ids", &node])), 0);
    until("one", "ping -c 1 -W 1 10.0.1.77", true);
    until("node", "ip link show dev eth1", true);

    // A host of the file is an instance like any other.
    let filter = "Name=private-ip-address,Values=10.0.1.12";
    let two = answer(&aws(&["describe-instances", "--filters", filter]));
    let two = two["Reservations"][0]["Instances"][0]["InstanceId"]
        .as_str()
        .unwrap()
        .to_owned();
    run_in("two", "10.0.1.60", "two");
    answer(&aws(&["stop-instances", "--instance-ids", &two]));
    until("one", "ping -c 1 -W 1 10.0.1.12", false);
    assert_eq!(code(&aws(&["wait", "instance-stopped", "--instance-ids", &two])), 0);
    assert!(assigned("10.0.1.60"), "it was not asked to end");
    answer(&aws(&["start-instances", "--instance-ids", &two]));
    until("one", "ping -c 1 -W 1 10.0.1.12", true);

    answer(&aws(&["terminate-instances", "--instance-ids", &node]));
    assert_eq!(code(&aws(&["wait", "instance-terminated", "--instance-ids", &node])), 0);
    assert_ne!(code(&exec("node", "true")), 0);
    let left = answer(&aws(&[
        "describe-network-interfaces",
        "--network-interface-ids",
        &further,
    ]));
    assert_eq!(left["NetworkInterfaces"][0]["Status"], "available");
    server.stop();
}

#[test]
#[ignore = "needs root: make test"]
fn clients_in_a_host_reach_the_api_by_the_names_that_are_compiled_into_them() {
    needs("aws", "awscli");
    let folder = tempfile::tempdir().unwrap();
    let network = file(&folder, "network.yaml", INSIDE);
    let server = Server::start(&folder, &["up", "--allow-exec", &network]);
    let ask = |host: &str, line: &str| server.ask(&["exec", host, "--", "sh", "-c", line]);
    let says_in = |host: &str, line: &str| {
        let output = ask(host, line);
        assert_eq!(code(&output), 0, "{line}: {}", says(&output));
        stdout(&output)
    };
    let arn = says_in("role", "/usr/bin/aws sts get-caller-identity --query Arn --output text");
    assert!(
        arn.starts_with("arn:aws:sts::123456789012:assumed-role/failover/i-"),
        "{arn}"
    );
    let arn = says_in(
        "plain",
        "/usr/bin/aws sts get-caller-identity --query Arn --output text",
    );
    assert_eq!(arn.trim(), "arn:aws:iam::123456789012:root");
    // By the library, over more than one window of TCP, and by plain HTTP.
    let script = "/usr/bin/python3 -c \"import boto3; print(len(boto3.client('ec2').describe_availability_zones()['AvailabilityZones']))\"";
    assert_eq!(says_in("plain", script).trim(), "6");
    let types = "/usr/bin/aws ec2 describe-instance-types --query 'length(InstanceTypes)'";
    assert!(says_in("plain", types).trim().parse::<u32>().unwrap() > 50);
    for scheme in ["http", "https"] {
        let line =
            format!("curl -sf '{scheme}://ec2.us-east-1.amazonaws.com/?Action=DescribeRegions&Version=2016-11-15'");
        assert!(
            says_in("plain", &line).contains("<regionName>us-east-1</regionName>"),
            "{scheme}"
        );
    }
    // The resolver knows the names; the host's own file is for those that ask no resolver.
    let dig = says_in(
        "plain",
        "dig +short @169.254.169.253 sts.amazonaws.com ec2.us-east-1.api.aws A",
    );
    assert_eq!(dig.trim(), "169.254.169.246\n169.254.169.246");
    // Who may not edit is refused, as on the socket.
    let refused = ask("reader", "/usr/bin/aws ec2 create-vpc --cidr-block 10.9.0.0/16");
    assert!(says(&refused).contains("UnauthorizedOperation"), "{}", says(&refused));
    says_in("reader", "/usr/bin/aws ec2 describe-vpcs");
    assert_ne!(
        code(&ask(
            "stranger",
            "curl -sf -m 3 http://169.254.169.246/?Action=DescribeVpcs"
        )),
        0
    );
    // A certificate of another network is not trusted: that of this one is in the host alone.
    assert!(!std::fs::exists("/etc/ssl/localvpc-ca.pem").unwrap());
    server.stop();
}

const INSIDE: &str = "
vpcs: { v: { cidr_blocks: [10.0.0.0/16] } }
subnets: { s: { vpc: v, cidr_block: 10.0.1.0/24 } }
instances:
  role: { subnet: s, ipv4: [10.0.1.11], metadata: { iam_role: failover } }
  plain: { subnet: s, ipv4: [10.0.1.12] }
  reader: { subnet: s, ipv4: [10.0.1.13], api: read-only }
  stranger: { subnet: s, ipv4: [10.0.1.14], api: none }
";

const NETWORK: &str = "
vpcs: { v: { cidr_blocks: [10.0.0.0/16], profile: { base: aws, overrides: { instance: { stopping: 5s } } } } }
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
    let aws = |arguments: &[&str]| aws_at(&listen, folder.path(), arguments);
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
