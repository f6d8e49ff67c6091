"""Changes that shrink a trained answer."""

from airtrack.core.lazy import names

__getattr__, __dir__ = names(__name__, __file__)
