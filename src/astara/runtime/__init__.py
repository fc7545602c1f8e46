"""Options, wiring, main: the only room that knows everyone."""
