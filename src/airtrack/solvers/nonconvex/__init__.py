"""Solvers of finite sums that are not convex."""
