//! Agents of clusters that call EC2, unmodified from Debian's packages: each scenario passes, and fails when it is turned around.

use crate::support::cli::{Server, code, file, stdout};
use crate::support::tools::needs;

scenarios! {
    awseip_moves_an_elastic_ip_address_when_its_node_dies:
        "awseip.yaml", "expect: { exit: 7 }" => "expect: { exit: 0 }";
    aws_vpc_move_ip_moves_routes_of_several_tables_by_both_ways_of_looking:
        "aws-vpc-move-ip.yaml", "main: { vpc: v, main: true, routes: [{ to: 192.168.7.7/32, via: one }] }" =>
            "main: { vpc: v, main: true, routes: [{ to: 192.168.7.7/32, via: two }] }";
}

const PAIR: &str = "
vpcs: { v: { cidr_blocks: [10.0.0.0/16], profile: aws } }
subnets: { s: { vpc: v, cidr_block: 10.0.1.0/24 } }
instances:
  one: { subnet: s, ipv4: [10.0.1.11, 10.0.1.50], metadata: { iam_role: failover } }
  two: { subnet: s, ipv4: [10.0.1.12], metadata: { iam_role: failover } }
  client: { subnet: s, ipv4: [10.0.1.13] }
";

/// Waits for the end of the other node, takes its address with the agent, and makes the agent's calls once more by curl, which says
/// how long the API took from the request to the answer. Prints seconds: detection, agent, API, handshakes of TLS.
const TAKE_OVER: &str = r#"
now() { date +%s.%N; }
export OCF_ROOT=/usr/lib/ocf OCF_RESKEY_secondary_private_ip=10.0.1.50 OCF_RESKEY_api_delay=0
while ping -n -q -c 1 -W 0.5 10.0.1.11 >/dev/null; do touch /run/watching; sleep 0.2; done
detected=$(now)
/usr/lib/ocf/resource.d/heartbeat/awsvip start >/run/agent 2>&1 || { cat /run/agent >&2; exit 1; }
taken=$(now)
eni=$(curl -s http://169.254.169.254/latest/meta-data/network/interfaces/macs/$(cat /sys/class/net/eth0/address)/interface-id)
assign="AssignPrivateIpAddresses&NetworkInterfaceId=$eni&PrivateIpAddress.1=10.0.1.50&AllowReassignment=true"
for action in DescribeInstances "$assign"; do
  curl -sf -o /dev/null -w '%{time_starttransfer} %{time_pretransfer} %{time_appconnect} %{time_connect}\n' \
    "https://ec2.us-east-1.amazonaws.com/?Action=$action&Version=2016-11-15"
done >/run/calls
awk -v died="$(cat /run/died)" -v detected=$detected -v taken=$taken \
  '{ api += $1 - $2; tls += $3 - $4 } END { print detected - died, taken - detected, api, tls }' /run/calls
"#;

#[test]
#[ignore = "needs root: make test"]
fn of_a_take_over_by_awsvip_the_api_and_the_wire_are_less_than_a_hundredth() {
    needs("aws", "awscli");
    let folder = tempfile::tempdir().unwrap();
    let network = file(&folder, "network.yaml", PAIR);
    let server = Server::start(&folder, &["up", "--allow-exec", &network]);
    let shell = |host: &str, line: &str| {
        let output = server.ask(&["exec", host, "--", "sh", "-c", line]);
        let said = stdout(&output) + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(code(&output), 0, "{line}: {said}");
        stdout(&output)
    };
    shell("two", "ip address add 10.0.1.50/24 dev eth0");
    let measured = std::thread::scope(|scope| {
        let taken = scope.spawn(|| shell("two", TAKE_OVER));
        shell(
            "two",
            "until test -e /run/watching; do sleep 0.1; done; date +%s.%N >/run/died",
        );
        let died = server.ask(&["faults", "begin", "{ instance_crash: { interfaces: [one] } }"]);
        assert_eq!(code(&died), 0, "{}", String::from_utf8_lossy(&died.stderr));
        taken.join().unwrap()
    });
    let ping = shell("client", "ping -n -c 1 -W 2 10.0.1.50");
    let wire: f64 = ping
        .split("time=")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .unwrap()
        .parse()
        .unwrap();
    let seconds: Vec<f64> = measured.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let [detection, agent, api, tls] = seconds.try_into().unwrap();
    let share = (api + wire / 1000.0) / (detection + agent) * 100.0;
    eprintln!(
        "take-over by awsvip: detection {detection:.2} s, agent and command line {agent:.2} s; of this the API {:.1} ms, the first packet \
         {wire:.1} ms: {share:.2} %; handshakes of TLS, of both sides: {:.0} ms",
        api * 1000.0,
        tls * 1000.0
    );
    assert!(share < 1.0, "{share} %");
    server.stop();
}
