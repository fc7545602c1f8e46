"""Alembic's scripts. How to add one, and what one may do: docs/design/records.md."""
