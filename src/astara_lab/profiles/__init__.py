"""What each kind of lab consists of."""
