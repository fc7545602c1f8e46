"""The plug-in's own branch of Neutron's database migrations: neutron-db-manage --subproject astara upgrade heads."""
