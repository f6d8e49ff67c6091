"""Distillation: a student learns from the data and from a teacher's probabilities (Hinton, Vinyals and Dean, 2015)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from airtrack.core.part import Slot, part
from airtrack.nets.model import TorchLanguageModel


@part("adapt")
class Distil:
    """Train another net on the same corpus, for a time with weight · KL(teacher ‖ student) beside the cross-entropy.

    student      a recipe `train`: the net that is to replace the teacher, and how it is trained
    weight       of the divergence
    temperature  both distributions are those of logits / temperature; the divergence is multiplied by its square, so
                 that its gradient keeps its size
    until        part of the student's training after which the data alone teach. DeepSpeed-MoE (arXiv 2201.05596,
                 section 4.2) stops at 400,000 of some 570,000 steps: a teacher to the end holds the student back

    A mixture of students is `distil` whose student has fewer layers of the same mixture of experts, 21 for 24 in the
    paper. In a study: {name: then, first: {name: train, share: 0.5, …}, changes: [{name: distil, student: …}]}.

    >>> from airtrack.core.part import build
    >>> train = {"name": "train", "net": {"name": "decoder", "layers": 1, "width": 8, "heads": 2}, "optim": "adamw"}
    >>> Distil(student=train | {"optim": {"name": "adamw", "lr": 1e-3}}).until
    0.7
    """

    accepts: ClassVar[type] = TorchLanguageModel
    example: ClassVar[dict[str, Any]] = {
        "student": {
            "name": "train",
            "net": {"name": "decoder", "layers": 1, "width": 8, "heads": 2},
            "optim": {"name": "adamw", "lr": 1e-2},
            "batch": 2,
        }
    }

    student: Annotated[Any, Slot("train")]
    weight: Annotated[float, Gt(0)] = 1.0
    temperature: Annotated[float, Gt(0)] = 1.0
    until: Annotated[float, Ge(0), Le(1)] = 0.7

    def change(self, answer: TorchLanguageModel, given: Any, meter: Any, streams: Any) -> TorchLanguageModel:
        """The student; `answer`, the teacher, stays as it was. Costs the student's tokens, the teacher's are free."""
        teacher, was_training = answer.module, answer.module.training
        teacher.eval()
        try:
            return self.student.answer(given, meter, streams, self._guide(teacher))
        finally:
            teacher.train(was_training)

    def _guide(self, teacher: nn.Module) -> Any:
        def guide(ids: Tensor, at: tuple[Tensor, ...], logits: Tensor, progress: float) -> Tensor | None:
            if progress >= self.until:
                return None
            with torch.no_grad():
                told = (teacher(ids, at) / self.temperature).log_softmax(-1)  # [m, V]
            own = (logits / self.temperature).log_softmax(-1)
            return self.weight * self.temperature**2 * (told.exp() * (told - own)).sum()

        return guide
