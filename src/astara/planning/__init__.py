"""Pure: what is wanted and what is seen go in, a plan comes out. No clock, no I/O, no logger.

Read in this order: `classify` (world -> Phase), `lifecycle` (the declared table), `plan`.
"""
