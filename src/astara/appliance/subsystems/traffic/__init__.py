"""Bandwidth limits per link and per address, by HTB."""
