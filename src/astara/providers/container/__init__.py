"""Instances that are containers on nodes with a node agent."""
