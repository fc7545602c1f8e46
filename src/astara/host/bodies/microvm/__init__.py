"""Bodies that are machines: one QEMU process each, in the namespace of its instance (docs/design/bodies.md)."""
