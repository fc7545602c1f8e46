"""Bodies: what an instance's services run in. One room per kind; they never see each other (docs/design/bodies.md)."""
