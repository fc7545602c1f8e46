"""The node agent: many instances on one node, their namespaces, their plugs, their watch."""
