"""Instances that are servers of Nova's, each with an agent of its own inside."""
