"""DHCPv4, DHCPv6 and DNS of one network by dnsmasq: one process per instance that serves subnets."""
