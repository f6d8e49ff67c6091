"""Tasks about convex sums that are not smooth."""
