"""Many orchestrators, one owner for each resource: the ring, who is in it, and since which epoch."""
