//! Callers of the EC2 API who have to say who they are: signatures by botocore and by the AWS command line in a host, and an
//! instance whose policy permits some actions only.

use std::process::{Command, Output};

use crate::support::cli::{Server, code, file, free_port, localvpc, run, stdout};
use crate::support::python::environment;
use crate::support::tools::needs;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");
const KEYS: &str = "[default]\naws_access_key_id = AKIAOURS\naws_secret_access_key = secret/of+ours\n";

fn says(output: &Output) -> String {
    stdout(output) + &String::from_utf8_lossy(&output.stderr)
}

#[test]
#[ignore = "needs root: make test"]
fn botocore_s_signatures_are_verified_and_wrong_keys_change_nothing() {
    let python = environment("python-ec2", &format!("{FOLDER}/requirements.txt")).join("python");
    let folder = tempfile::tempdir().unwrap();
    let keys = file(&folder, "credentials", KEYS);
    let listen = format!("127.0.0.1:{}", free_port());
    let options = ["serve", "--verify-sigv4", "--ec2-credentials", &keys];
    let server = Server::start(
        &folder,
        &[&options[..], &["--ec2", "off", "--listen", &listen]].concat(),
    );
    let run = Command::new(python)
        .arg(format!("{FOLDER}/ec2_signed.py"))
        .args([&format!("http://{listen}"), "AKIAOURS", "secret/of+ours"])
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", says(&run));
    assert!(stdout(&run).ends_with("ok\n"), "{}", says(&run));
    server.stop();
}

#[test]
#[ignore = "needs root: make test"]
fn a_file_of_keys_that_cannot_be_used_is_refused_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let half = file(&folder, "half", "[default]\naws_access_key_id = A\n");
    let refused = run(&["serve", "--verify-sigv4", "--ec2-credentials", &half]);
    assert_eq!(code(&refused), 2, "{}", says(&refused));
    assert!(
        says(&refused).contains("line 2: the profile has no aws_secret_access_key"),
        "{}",
        says(&refused)
    );
    let alone = localvpc(&["serve", "--ec2-credentials", &half]).output().unwrap();
    assert!(says(&alone).contains("--verify-sigv4"), "{}", says(&alone));
}

const NETWORK: &str = "
vpcs: { v: { cidr_blocks: [10.0.0.0/16] } }
subnets: { s: { vpc: v, cidr_block: 10.0.1.0/24 } }
instances:
  mover:
    subnet: s
    ipv4: [10.0.1.11]
    metadata: { iam_role: failover, iam_policy: { allow: ['ec2:Describe*', 'ec2:AssignPrivate*', 'sts:*'] } }
  denied:
    subnet: s
    ipv4: [10.0.1.12]
    metadata: { iam_role: failover, iam_policy: { deny: ['ec2:AssignPrivateIpAddresses'] } }
  plain: { subnet: s, ipv4: [10.0.1.13] }
";

#[test]
#[ignore = "needs root: make test"]
fn an_instance_calls_what_its_policy_permits_with_the_credentials_of_its_role_alone() {
    needs("aws", "awscli");
    for verified in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let network = file(&folder, "network.yaml", NETWORK);
        let mut arguments = vec!["up", "--allow-exec", &network];
        arguments.extend(verified.then_some("--verify-sigv4"));
        let server = Server::start(&folder, &arguments);
        let aws = |host: &str, line: &str| {
            let line = format!("AWS_MAX_ATTEMPTS=1 /usr/bin/aws {line} --output text");
            server.ask(&["exec", host, "--", "sh", "-c", &line])
        };
        let done = |host: &str, line: &str| {
            let output = aws(host, line);
            assert_eq!(code(&output), 0, "{line}: {}", says(&output));
            stdout(&output).trim().to_owned()
        };
        let eni = |address: &str| {
            format!(
                "ec2 describe-network-interfaces --filters Name=private-ip-address,Values={address} --query \
                 NetworkInterfaces[0].NetworkInterfaceId"
            )
        };
        let own = done("mover", &eni("10.0.1.11"));
        let theirs = done("denied", &eni("10.0.1.12"));
        let assign = |eni: &str| {
            format!("ec2 assign-private-ip-addresses --network-interface-id {eni} --private-ip-addresses 10.0.1.50")
        };
        let refused = aws("denied", &assign(&theirs));
        let said = says(&refused);
        let instance = done("denied", "sts get-caller-identity --query Arn");
        assert!(
            said.contains("(UnauthorizedOperation) when calling the AssignPrivateIpAddresses operation"),
            "{said}"
        );
        assert!(
            said.contains(&format!(
                "You are not authorized to perform \
                 this operation. User: {instance} is not authorized to perform: ec2:AssignPrivateIpAddresses with an explicit \
                 deny in an identity-based policy"
            )),
            "{said}"
        );
        assert!(
            !stdout(&server.ask(&["mappings"])).contains("10.0.1.50"),
            "nothing was changed"
        );
        done("mover", &assign(&own));
        // What is not allowed is refused in a dry run too; what is allowed would be done.
        let refused = says(&aws("mover", "ec2 create-vpc --cidr-block 10.9.0.0/16 --dry-run"));
        assert!(
            refused.contains("no identity-based policy allows the ec2:CreateVpc action"),
            "{refused}"
        );
        let allowed = says(&aws("denied", "ec2 create-vpc --cidr-block 10.9.0.0/16 --dry-run"));
        assert!(allowed.contains("DryRunOperation"), "{allowed}");
        // A role that the instance assumes may not do more than the instance.
        let script = format!(
            "set -e; eval $(/usr/bin/aws sts assume-role --role-arn arn:aws:iam::1:role/admin --role-session-name s --output text \
             --query 'Credentials.[AccessKeyId,SecretAccessKey,SessionToken]' | awk '{{print \"export AWS_ACCESS_KEY_ID=\"$1\" \
             AWS_SECRET_ACCESS_KEY=\"$2\" AWS_SESSION_TOKEN=\"$3}}'); /usr/bin/aws {}",
            assign(&theirs)
        );
        let assumed = says(&server.ask(&["exec", "denied", "--", "sh", "-c", &script]));
        assert!(assumed.contains("UnauthorizedOperation"), "{assumed}");
        // The socket in the host is no way around.
        let line = "curl -s --unix-socket /run/localvpc.sock 'http://localhost/?Action=AssignPrivateIpAddresses&Version=2016-11-15'";
        let by_socket = says(&server.ask(&["exec", "denied", "--", "sh", "-c", line]));
        let wanted = if verified {
            "MissingAuthenticationToken"
        } else {
            "UnauthorizedOperation"
        };
        assert!(by_socket.contains(wanted), "{by_socket}");
        // A host without a role has keys that are good for nothing.
        let plain = aws("plain", "ec2 describe-vpcs");
        assert_eq!(code(&plain) == 0, !verified, "{}", says(&plain));
        assert_eq!(says(&plain).contains("AuthFailure"), verified, "{}", says(&plain));
        // Another host that has the credentials of the role is that instance.
        let script = "t=$(curl -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token); \
                      curl -s -H \"X-aws-ec2-metadata-token: $t\" \
                      http://169.254.169.254/latest/meta-data/iam/security-credentials/failover | jq -r \
                      '\"AWS_ACCESS_KEY_ID=\"+.AccessKeyId+\" AWS_SECRET_ACCESS_KEY=\"+.SecretAccessKey+\" AWS_SESSION_TOKEN=\"+.Token'";
        let stolen = stdout(&server.ask(&["exec", "denied", "--", "sh", "-c", script]));
        let line = format!(
            "{} /usr/bin/aws sts get-caller-identity --output text --query Arn",
            stolen.trim()
        );
        let arn = server.ask(&["exec", "plain", "--", "sh", "-c", &line]);
        let wanted = if verified {
            instance.as_str()
        } else {
            "arn:aws:iam::123456789012:root"
        };
        assert_eq!(stdout(&arn).trim(), wanted, "{}", says(&arn));
        server.stop();
    }
}
