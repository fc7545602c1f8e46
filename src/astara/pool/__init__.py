"""Warm instances: made before anybody asks, adopted by the resource that does (docs/design/pool.md)."""
