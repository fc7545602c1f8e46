"""The commands of `astara`, one module per noun, each imported only when it is called."""
