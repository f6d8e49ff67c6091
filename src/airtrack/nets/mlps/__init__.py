"""The position-wise half of a block."""
