//! Instances: network namespaces with a TAP named `eth0`, and in-process hosts.
