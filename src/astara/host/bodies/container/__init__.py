"""Bodies that are containers: podman supplies the process and its file system, the node its namespace."""
