"""Solvers of eigenvector problems."""
