//! Plays reports of cloud users as scenarios: each passes, and fails when an expectation is inverted. Each file names
//! its report. It needs root.

scenarios! {
    a_host_of_a_subnet_without_ipv4_has_a_link_local_lease_and_metadata:
        "ipv6-only-dhcpv4.yaml", "length 4: 169.254.0.1" => "length 4: 10.0.0.1";
    the_metadata_service_has_no_ipv6_endpoint_unless_asked:
        "imds-ipv6-off.yaml", "dad: false, tags: { role: web }" => "dad: false, metadata: { http_protocol_ipv6: true }";
    a_lease_of_google_cloud_leads_to_its_gateway_over_the_link:
        "gcp-lease.yaml", "length 4: 86400" => "length 4: 3600";
    a_gateway_lies_outside_of_every_range_of_its_hosts:
        "gateway-outside.yaml", "default via 172.31.1.1" => "default via 10.135.1.1";
    a_narrow_path_that_says_nothing_is_a_black_hole:
        "silent-path.yaml", "path_mtu_errors: false" => "path_mtu_errors: true";
    a_key_of_the_metadata_fails_while_the_others_answer:
        "imds-one-key-fails.yaml", "macs/*/local-ipv4s" => "macs/*/subnet-id";
    the_metadata_follow_the_data_path_later:
        "imds-after-the-data-path.yaml", "of: [metadata]" => "of: [mappings]";
    the_keys_of_an_interface_appear_later_than_its_device:
        "imds-new-interface.yaml", "of: [metadata]" => "of: [routes]";
    the_agent_awsvip_moves_an_address_with_the_aws_command_line_and_no_option:
        "awsvip.yaml", "two: { subnet: s, ipv4: [10.0.1.12], metadata: { iam_role: failover } }" => "two: { subnet: s, ipv4: [10.0.1.12], metadata: { iam_role: failover }, api: read-only }";
    an_attachment_takes_time_and_one_that_hangs_is_in_use_until_it_is_ended:
        "attachment-takes-time.yaml", "attach: { fixed: 3s }" => "attach: { fixed: 1ms }";
    an_advertise_has_a_prefix_that_was_not_asked_for:
        "networkd-iapd.yaml", "profile: aws }" => "profile: { base: aws, overrides: { dhcp: { v6: { unasked_prefix: false } } } } }";
}
