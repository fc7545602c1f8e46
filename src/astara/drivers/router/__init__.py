"""The router service: Neutron routers, floating IPs, port forwardings."""
