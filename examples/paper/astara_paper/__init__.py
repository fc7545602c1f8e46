"""An Astara provider in a package of its own (docs/howto/add-a-provider.md)."""
