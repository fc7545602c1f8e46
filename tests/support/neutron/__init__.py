"""A real Neutron for tests: one API process on SQLite, configured as an embedded cloud, spoken to over HTTP."""
