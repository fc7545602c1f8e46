"""Connections end when the translation they came in by is taken away."""
