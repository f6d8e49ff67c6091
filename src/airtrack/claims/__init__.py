"""Published statements, written down as studies with their decision rules."""

from airtrack.core.lazy import names

__getattr__, __dir__ = names(__name__, __file__)
