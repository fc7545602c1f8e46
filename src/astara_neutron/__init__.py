"""The half of Astara that lives inside neutron-server."""
