"""Routes and policy rules under our own protocol number."""
