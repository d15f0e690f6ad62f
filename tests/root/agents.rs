//! Agents of clusters that call EC2, unmodified from Debian's packages: each scenario passes, and fails when it is turned around.

scenarios! {
    awseip_moves_an_elastic_ip_address_when_its_node_dies:
        "awseip.yaml", "expect: { exit: 7 }" => "expect: { exit: 0 }";
    aws_vpc_move_ip_moves_routes_of_several_tables_by_both_ways_of_looking:
        "aws-vpc-move-ip.yaml", "main: { vpc: v, main: true, routes: [{ to: 192.168.7.7/32, via: one }] }" =>
            "main: { vpc: v, main: true, routes: [{ to: 192.168.7.7/32, via: two }] }";
}
