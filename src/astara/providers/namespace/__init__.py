"""Instances that are network namespaces on nodes with a node agent."""
