"""One document in: rendered, checked, swapped and read back as a whole, or not at all."""
