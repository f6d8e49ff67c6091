"""Mixers: what lets positions see each other."""
