"""Instances that are virtual machines on nodes with a node agent, without Nova."""
