"""Simulated instances: for scale tests, for trying a driver, for the engine's own laws. A product, not a mock."""
