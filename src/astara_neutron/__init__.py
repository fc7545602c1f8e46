"""Astara inside neutron-server: loaded by configuration alone, imports `astara.contract` and nothing else of Astara."""
