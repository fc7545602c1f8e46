"""The metadata service: one small proxy in the agent answers for every instance on the node."""
