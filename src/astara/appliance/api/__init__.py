"""The agent's REST side: HTTPS with mutual TLS, routing, and what a refusal looks like."""
