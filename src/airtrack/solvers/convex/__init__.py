"""Solvers of convex finite sums."""
