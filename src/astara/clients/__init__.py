"""The only rooms of the orchestrator that speak to remote APIs: Neutron, Keystone and the agents."""
