"""One folder per network service; the folders never see each other."""
