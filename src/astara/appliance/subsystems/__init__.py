"""One room per daemon or kernel table: render, check, apply, read back, remove."""
