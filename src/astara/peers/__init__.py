"""How an agent is spoken to: mutual TLS and the calls of the contract. Orchestrators and agents both do it."""
