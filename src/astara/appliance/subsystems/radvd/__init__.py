"""Router advertisements (RFC 4861) by radvd: one process per instance that has something to advertise."""
