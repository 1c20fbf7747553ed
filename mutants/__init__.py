"""Changes one thing at a time in the modules where a wrong line loses data, and asks whether a test notices."""
