"""Composition: train once, then change."""

from __future__ import annotations

from typing import Annotated, Any

from airtrack.core.meter import Meter
from airtrack.core.part import Slot, SpecError, article, part
from airtrack.core.streams import Streams


@part("composite")
class Then:
    """First a recipe, then changes of its answer.

    On the bench the answer of `first` is computed once for a (task, seed, budget), kept in the ledger under its own
    key, and shared by every arm that begins with it.
    """

    first: Annotated[Any, Slot("recipe")]
    changes: tuple[Annotated[Any, Slot("change")], ...]

    def check(self) -> None:
        for change in self.changes:
            if not issubclass(self.first.returns, change.accepts):
                wants, gets = article(change.accepts.__name__), article(self.first.returns.__name__)
                raise ValueError(f"{type(change).__name__} changes {wants}, {type(self.first).__name__} returns {gets}")

    @property
    def accepts(self) -> type:
        return self.first.accepts

    @property
    def returns(self) -> type:
        return self.changes[-1].accepts if self.changes else self.first.returns

    def refuses(self, task: Any) -> None:
        """Raises `SpecError` where the first recipe cannot work on a task."""
        if hasattr(self.first, "refuses"):
            try:
                self.first.refuses(task)
            except SpecError as error:
                raise error.below("first") from None

    def answer(self, given: Any, meter: Meter, streams: Streams) -> Any:
        answer = meter.prefix(self.first)
        if answer is None:
            answer = self.first.answer(given, meter, streams)
        for number, change in enumerate(self.changes):
            answer = change.change(answer, given, meter, streams / f"change{number}")
        return answer
