"""Language tasks: sequences of token ids with exact truth."""

from pathlib import Path

from airtrack.core.compiled import forget_stale

forget_stale(Path(__file__).parent)
