"""The network service: DHCP, DNS and metadata of one Neutron network, with or without a router."""
