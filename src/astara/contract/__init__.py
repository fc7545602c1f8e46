"""The wire language between Neutron's plug-in, the orchestrator and the agents.

Frozen types only. Every other room may import this one; this one imports nothing of Astara.
"""
