"""`make demo`: a real Neutron, routers of ours, tenant machines, and packets that prove every claim on the screen."""
