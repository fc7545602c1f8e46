"""An Astara driver in a package of its own (docs/howto/add-a-driver.md)."""
