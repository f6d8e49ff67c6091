"""How a net knows where a token stands."""
