"""The agent as the first process of a machine of its own: boot, birth, and the agent's life (docs/design/bodies.md)."""
