"""keepalived elects which half of a pair is the active one (VRRPv3, RFC 9568)."""
