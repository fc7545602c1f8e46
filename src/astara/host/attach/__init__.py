"""Layer-2 attachment kinds: how a port of an instance joins the network that is already there."""
