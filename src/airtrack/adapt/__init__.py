"""Changes that train."""

from airtrack.core.lazy import names

__getattr__, __dir__ = names(__name__, __file__)
