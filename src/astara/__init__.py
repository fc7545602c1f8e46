"""Astara: what tenants ask of cloud APIs becomes running, healed, upgraded service instances."""
