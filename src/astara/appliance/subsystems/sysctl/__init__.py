"""Settings of the namespace as a whole, below /proc/sys/net."""
