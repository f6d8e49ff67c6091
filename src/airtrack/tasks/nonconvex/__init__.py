"""Sums that are not convex, with known saddle points and local minima."""
