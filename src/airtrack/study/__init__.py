"""Studies: from a specification to a verdict. Knows the core and no part."""
