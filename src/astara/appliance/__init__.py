"""The agent: takes a whole document, checks all of it, applies it as one transaction, reads it back."""
