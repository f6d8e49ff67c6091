"""Estimators for scikit-learn over the solvers."""

from importlib.util import find_spec

from airtrack.core.lazy import names

if find_spec("sklearn") is None:
    raise ImportError("airtrack.sklearn needs scikit-learn; pip install 'airtrack[sklearn]'")

__getattr__, __dir__ = names(__name__, __file__)
