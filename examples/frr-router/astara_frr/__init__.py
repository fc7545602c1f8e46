"""Routers whose engine is FRR, in an image somebody brought (docs/howto/bring-your-own.md)."""
