//! A whole Pacemaker cluster with fencing by EC2. It takes most of a minute, so that it has a make target of its own: `make agents`.

scenarios! {
    fence_aws_stops_the_node_whose_cluster_software_was_killed:
        "pacemaker-fence-aws.yaml", "stdout: { matches: \"^i-[0-9a-f]{17}\" }" => "stdout: { matches: \"^none\" }";
}
