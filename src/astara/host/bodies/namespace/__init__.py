"""Bodies that are nothing but a namespace: the node agent itself configures them."""
