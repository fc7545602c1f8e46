"""What operators touch: the admin REST API on a unix socket, and the command `astara` that speaks it."""
