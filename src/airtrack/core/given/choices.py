"""The dual of a revenue management problem: customers who take the option that is worth most to them, at its price."""

from __future__ import annotations

import numpy as np

from airtrack.core.given.oracle import Floats, Ints
from airtrack.core.given.pieces import Pieces
from airtrack.core.part import SpecError


class Choices(Pieces):
    """F(x) = ⟨c, x⟩ + (1/n) Σ max(0, maxⱼ (vᵢⱼ − xⱼ)), over prices x ≥ 0.

    It is the dual of: sell option j to at most n cⱼ customers, one option each, for the greatest total value. The
    pieces of a component are j = 0 … d − 1, the option taken (gradient −eⱼ), and d, none. Two options change places
    when the difference of their prices has moved by the difference of their surpluses, which takes a way of 1/√2 of it
    at least; an option and none, a way of the surplus itself.

    >>> given = Choices(np.array([[3.0, 1.0], [0.5, 0.2]]), np.array([0.5, 0.5]))
    >>> pieces, radii = given.look(np.array([1.0, 1.0]), np.arange(2))
    >>> pieces, radii.round(6), given.slope(pieces, np.arange(2))
    (array([0, 2]), array([1.414214, 0.5     ]), array([-1.,  0.]))
    """

    def __init__(self, values: Floats, capacity: Floats) -> None:
        try:
            values, capacity = np.array(values, np.float64), np.array(capacity, np.float64)
        except (ValueError, TypeError):
            raise SpecError("values and capacities are a table and a row of numbers, and these are not") from None
        if values.ndim != 2 or capacity.shape != values.shape[1:]:
            raise SpecError(f"{capacity.shape} capacities do not fit values of shape {values.shape}", "capacity")
        if not np.isfinite(values).all():
            raise SpecError("they hold numbers that are not finite", "values")
        if not (np.isfinite(capacity).all() and (capacity > 0).all()):
            raise SpecError(f"the least is {capacity.min():g}; shares of the customers are positive", "capacity")
        values.flags.writeable = False
        self._values = values
        self.n, self.d = values.shape
        self.l2, self.linear, self.positive, self.steepest = 0.0, capacity, True, 1.0
        self.reach = float(np.linalg.norm(np.maximum(values.max(0), 0)))  # no price need exceed the greatest value

    def slope(self, pieces: Ints, which: Ints) -> Floats:
        return -np.bincount(pieces, minlength=self.d + 1)[: self.d] + np.zeros(self.d)

    def value(self, x: Floats) -> float:
        return float(self.linear @ x + np.maximum((self._values - x).max(1), 0).mean())

    def certificate(self, answer: Floats) -> dict[str, float]:
        """`gap`, no less than F(x) − F*: the value of the prices, less that of sales they lead to within capacities.

        Where too many want an option, those go without who lose least by it, and then take what is left elsewhere.
        """
        x = self.within(answer)
        surplus = np.hstack([self._values - x, np.zeros((self.n, 1))])  # the last one is "none"
        choice = surplus.argmax(1)
        ranked = np.sort(surplus, axis=1)
        room, unserved, earned = self.n * self.linear, np.ones(self.n), 0.0
        for j in range(self.d):
            wanting = np.flatnonzero(choice == j)
            lead = ranked[wanting, -1] - ranked[wanting, -2]
            earned += self._sell(j, wanting[np.argsort(-lead, kind="stable")], room, unserved)
        for j in range(self.d):
            waiting = np.flatnonzero((unserved > 0) & (self._values[:, j] > 0))
            loss = ranked[waiting, -1] - surplus[waiting, j]
            earned += self._sell(j, waiting[np.argsort(loss, kind="stable")], room, unserved)
        return {"gap": self.value(x) - earned / self.n}

    def _sell(self, j: int, queue: Ints, room: Floats, unserved: Floats) -> float:
        """Sell option j along a queue of customers; changes `room` [d] and `unserved` [n], returns what was earned."""
        wanted = np.minimum(np.cumsum(unserved[queue]), room[j])
        sold = np.diff(wanted, prepend=0.0)
        room[j] -= wanted[-1] if len(wanted) else 0.0
        unserved[queue] -= sold
        return float(self._values[queue, j] @ sold)

    def _look(self, x: Floats, which: Ints) -> tuple[Ints, Floats]:
        surplus = np.zeros((len(which), self.d + 1))  # the last one is "none"
        np.subtract(self._values[which], x, out=surplus[:, :-1])
        pieces = surplus.argmax(1)
        best = np.take_along_axis(surplus, pieces[:, None], 1)
        lead = best - surplus  # [c, d + 1]
        lead[:, :-1] /= np.where(pieces < self.d, np.sqrt(2), 1.0)[:, None]
        np.put_along_axis(lead, pieces[:, None], np.inf, 1)
        return pieces, lead.min(1)
