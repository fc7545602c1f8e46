"""A storm: everything is killed at random under a stream of changes, and afterwards the world must be Neutron's wish.

`make storm`; docs/howto/storm.md. Inside a lab: `python -m storm`.
"""
