"""Whether an arm's response to its settings stands out of its noise."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt


class Flatness(NamedTuple):
    """`flat`: no difference between the settings beyond the noise; `p`: of the F test, None where there is none."""

    flat: bool
    p: float | None


def flat(responses: npt.ArrayLike, *, alpha: float = 0.1) -> Flatness:
    """F test of a randomised block design: do the settings differ beyond their noise (Fisher 1935)?

    responses    shape [settings, seeds], on the test scale; the same seeds, in the same order, for every setting
    alpha        level. Here the test protects a claim of flatness, so it is more lenient than a verdict's: with
                 two seeds and three settings it finds a trend of 4, 6, 8 noise sd from end to end with
                 probability .60, .85, .96 (at .05: .36, .61, .81)

    A setting with a failed seed (NaN or an infinity) speaks for itself: not flat, no p. With one seed nothing can be
    told: not flat, no p. Raises ValueError unless there are two settings of one seed or more.

    >>> flat([[0.50, 0.54, 0.49], [0.55, 0.60, 0.53], [0.58, 0.61, 0.57]]).flat
    False
    >>> flat([[0.50, 0.57, 0.49], [0.52, 0.49, 0.55], [0.55, 0.53, 0.48]]).flat
    True
    >>> flat([[0.5], [0.9]])
    Flatness(flat=False, p=None)
    """
    y = np.asarray(responses, dtype=np.float64)
    if y.ndim != 2 or y.shape[0] < 2 or y.shape[1] < 1:
        raise ValueError(f"responses must have shape [settings, seeds] with two settings or more; got shape {y.shape}")
    settings, seeds = y.shape
    if seeds == 1 or not np.isfinite(y).all():
        return Flatness(False, None)
    effect = y.mean(1) - y.mean()
    noise = y - y.mean(0) - effect[:, None]
    tiny = (1e-12 * np.abs(y).max()) ** 2 * y.size
    between, within = seeds * float((effect**2).sum()), float((noise**2).sum())
    if between <= tiny:
        return Flatness(True, 1.0)
    if within <= tiny:
        return Flatness(False, 0.0)
    try:
        from scipy import special  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise ImportError(
            "the F distribution needs scipy, which is not installed; remedy: pip install scipy"
        ) from error
    df = settings - 1, (settings - 1) * (seeds - 1)
    p = float(cast(Any, special).fdtrc(*df, between / df[0] / (within / df[1])))
    return Flatness(p > alpha, p)
