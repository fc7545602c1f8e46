"""Links found by MAC address: MTU, state, addresses, neighbour proxies, per-link sysctls, announcements."""
