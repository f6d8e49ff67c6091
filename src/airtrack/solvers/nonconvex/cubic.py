"""The cubic model m(h) = ⟨g, h⟩ + ½ ⟨h, H h⟩ + (L₂/6) ‖h‖³ of a function, and its minimisers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from scipy.optimize import brentq

from airtrack.core.given import Floats

TIRED = 1e-10  # share of a new direction outside of a Krylov space below which the space is complete
LEFT = 0.1  # ‖∇m(h)‖ over ‖g‖ or L₂ ‖h‖², where a subspace is large enough


def model(g: Floats, image: Floats, h: Floats, bend: float) -> float:
    """m(h), image = H h [d]."""
    return float(g @ h + h @ image / 2 + bend / 6 * np.linalg.norm(h) ** 3)


def minimiser(g: Floats, hessian: Floats, bend: float) -> Floats:
    """argmin over h of m(h), the global one, by an eigendecomposition of H [d, d].

    It is h = −(H + λI)⁻¹ g with λ ≥ −λ_min and ‖h‖ = 2λ/L₂. In the hard case, g orthogonal to the eigenvectors of
    λ_min, a multiple of one of these is added.

    >>> minimiser(np.zeros(2), np.diag([-1.0, 1.0]), 2.0).tolist()  # a saddle: ‖h‖ = 2 · 1/2
    [1.0, 0.0]
    """
    sizes, vectors = np.linalg.eigh(hessian)
    along, low, slack = vectors.T @ g, max(-float(sizes[0]), 0.0), float(np.sqrt(bend * np.linalg.norm(g) / 2))
    scale = max(float(np.abs(sizes).max()), slack)
    if scale == 0:
        return np.zeros_like(g)

    gaps = sizes + low  # λ is looked for by λ − low, or else its digits would be lost where it is close to low

    def excess(more: float) -> float:  # of ‖h‖ over 2λ/L₂; falls in λ
        with np.errstate(over="ignore"):  # infinite is right
            return float(np.linalg.norm(along / (gaps + more))) - 2 * (low + more) / bend

    floor = 1e-150 * scale
    if slack <= floor or excess(floor) <= 0:  # the hard case
        kept = gaps > 1e-12 * scale
        inside = np.where(kept, -along / np.where(kept, gaps, 1.0), 0.0)
        inside[0] += np.sqrt(max((2 * low / bend) ** 2 - inside @ inside, 0.0))
        return vectors @ inside
    more: Any = slack  # there ‖h‖ ≤ ‖g‖/(λ − low) = 2 (λ − low)/L₂
    if excess(slack) < 0:
        more = brentq(excess, floor, slack, xtol=1e-300, rtol=cast(Any, 1e-14), maxiter=2000)
    return vectors @ (-along / (gaps + float(more)))


def krylov(
    times: Callable[[Floats], Floats], g: Floats, other: Floats, bend: float, most: int
) -> tuple[Floats, Floats]:
    """(h, H h): the least of m over the span of g, `other`, Hg, H other, H²g, …, of at most `most` directions, each of
    which is multiplied by H once. It ends where ∇m(h) is small.

    Every −(H + λI)⁻¹ g that conjugate gradients would reach lies in it, whatever λ, and so does the least eigenvector.
    """
    basis: list[Floats] = []
    images: list[Floats] = []
    waiting, h, image = [g, other], np.zeros_like(g), np.zeros_like(g)
    while waiting and len(basis) < min(most, len(g)):
        v = waiting.pop(0)
        size = float(np.linalg.norm(v))
        for _ in range(2):  # twice is enough (Kahan)
            for q in basis:
                v = v - q * (q @ v)
        if np.linalg.norm(v) <= TIRED * size or size == 0:
            continue
        basis.append(v / np.linalg.norm(v))
        images.append(times(basis[-1]))
        waiting.append(images[-1])
        q, hq = np.array(basis).T, np.array(images).T  # [d, k]
        small = q.T @ hq
        y = minimiser(q.T @ g, (small + small.T) / 2, bend)
        h, image = q @ y, hq @ y
        residual = np.linalg.norm(g + image + bend / 2 * np.linalg.norm(h) * h)
        if len(basis) > 3 and residual <= LEFT * min(float(np.linalg.norm(g)), bend * float(h @ h)):
            break
    return h, image
