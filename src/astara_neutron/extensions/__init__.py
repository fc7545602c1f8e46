"""API extensions. Neutron finds this directory through the service plug-in and loads every module in it by path."""
