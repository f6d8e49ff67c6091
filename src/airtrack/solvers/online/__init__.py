"""Solvers of repeated games."""
