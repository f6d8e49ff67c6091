"""Built-in studies, run by name."""
