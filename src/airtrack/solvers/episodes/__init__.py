"""Learners of episodic decision processes."""
