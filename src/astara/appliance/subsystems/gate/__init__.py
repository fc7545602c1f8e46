"""The gate on every tenant link of a router's half: open while this half is the active one (docs/design/ha.md)."""
