"""Several trainings of one architecture, seeds and learning rates side by side, as one program."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from airtrack.core.given import IGNORE, Batch, Corpus
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError, to_spec
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams
from airtrack.nets.decoder import Transformer
from airtrack.nets.model import TorchLanguageModel
from airtrack.nets.penalty import penalised, taken
from airtrack.nets.stacked import Stacked
from airtrack.train.compiling import compiles
from airtrack.train.device import seeded
from airtrack.train.gradient import Gradient
from airtrack.train.state import restore, saved
from airtrack.train.train import Train

OWN = ("optim", "schedule", "clip", "z_loss", "data")  # fields in which the recipes may differ


def together(
    recipes: Sequence[Train], givens: Sequence[Corpus], meters: Sequence[Meter], streams: Sequence[Streams]
) -> list[TorchLanguageModel | Diverged]:
    """What `recipe.answer(given, meter, streams)` returns for each, or the `Diverged` that it raises, to the bit.

    Every copy has its own data, starting values, optimiser, schedule, clipping, curve and end; one that diverges or
    that has met its threshold leaves the others alone. Checkpoints are each copy's own, and those of `Train`: either
    may go on from where the other was interrupted.

    recipes  `Train`, on the CPU; they may differ in optim, schedule, clip, z_loss and data, and in nothing else
    givens   of one vocabulary, length and start

    What is saved is the cost of calling operations, some 1.4 ms a step in a net of one layer; arithmetic is not, and
    the activations of many copies leave the cache. Eight copies of width 32 were, by `benchmarks/together.py` on one
    core, 1.6 to 1.8 times as fast as one after the other with batches of 4 rows of 49 tokens, 1.4 to 1.7 with 8 rows,
    and as fast with 32 rows of 97; those of width 16, with 16 rows of 72, 1.3. Canon at all places, which is called
    copy by copy, takes that away (0.7 to 0.9 at the sizes of the built-in studies).
    Where copies have a loss at different numbers of positions, they go through their nets one by one at that step.

    Raises `SpecError` for recipes that differ otherwise, for nets that are no decoder or draw random numbers while they
    train, and where the gradients are, stacked, not those of the copies to the bit: a linear algebra library may round
    otherwise in a batch. Every new stack is compared on its first batch.
    """
    _refuse(recipes, givens)
    copies = [_Copy(*each) for each in zip(recipes, givens, meters, streams)]
    program: _Program | None = None
    with seeded(streams[0] / "steps", "cpu"):  # whatever is restored to torch's generators is undone
        for each in copies:
            each.resume()
        while live := [each for each in copies if each.live()]:
            batches = [each.batch() for each in live]
            if program is None or program.copies != live:
                program = _Program(live)
                losses = program.checked(batches)
            else:
                losses = program(batches)
            for each, loss in zip(live, losses):
                each.update(loss)
    return [each.outcome for each in copies]


def differing(recipes: Sequence[Train]) -> list[str]:
    """Fields in which recipes differ that have to be alike to be trained together.

    >>> from airtrack.core.part import build
    >>> spec = {"name": "train", "net": {"name": "decoder", "layers": 1, "width": 8, "heads": 2}}
    >>> specs = [spec | {"optim": {"name": "adamw", "lr": lr}, "batch": n} for lr, n in ((0.1, 8), (0.2, 4))]
    >>> differing([build("recipe", s) for s in specs])
    ['batch']
    """
    first, *others = (to_spec(recipe) for recipe in recipes)
    return [name for name in first if name not in OWN and any(other.get(name) != first[name] for other in others)]


def _refuse(recipes: Sequence[Train], givens: Sequence[Corpus]) -> None:
    first = recipes[0]
    for recipe in recipes:
        if type(recipe) is not Train:
            raise SpecError(f"only recipes `train` are trained together, and one is a {type(recipe).__name__}")
    if names := differing(recipes):
        raise SpecError(f"trainings of one net go together, and these differ in {', '.join(names)}; run them apart")
    if len({(given.vocab, given.length, given.start) for given in givens}) > 1:
        raise SpecError("tasks have different vocabularies, lengths or starts; run them apart")
    for name, wanted in {"device": "cpu", "accumulate": 1, "recompute": False, "share": 1.0}.items():
        if getattr(first, name) != wanted:
            raise SpecError(f"only {name}: {wanted} can be trained together; run them apart", name)


class _Copy:
    """One training: what the loop of `Train` has, but for the gradient."""

    def __init__(self, recipe: Train, given: Corpus, meter: Meter, streams: Streams) -> None:
        self.given = given if recipe.data is None else given.treated(recipe.data)
        self.recipe, self.meter, self.streams = recipe, meter, streams
        self.tokens, self.step = recipe.step_cost(given), 0
        steps = int(meter.budget // self.tokens)
        self.model = recipe._model(self.given, streams)
        self.module = self.model.module
        sizes = (self.model.origin["vocab"], self.given.length, steps * recipe.batch)  # type: ignore[index]
        if not isinstance(self.module, Transformer):
            raise SpecError(f"only decoders are trained together, and the net is a {type(self.module).__name__}", "net")
        if compiles(recipe.compile, recipe.net, self.module, sizes):
            raise SpecError("trainings that are compiled are not trained together; set compile: never", "compile")
        self.model.facts["compiled"] = 0.0
        self.optimizer = recipe.optim.build(self.module)
        self.scheduler = recipe.schedule.build(self.optimizer, steps)
        self.gradient = Gradient(self.module, z_loss=recipe.z_loss)
        self.parameters, self.penalised = list(self.module.parameters()), penalised(self.module)
        self.outcome: TorchLanguageModel | Diverged = self.model
        self.module.train()

    def resume(self) -> None:
        if (kept := self.meter.resume()) is not None:
            self.step = kept["step"]
            restore(kept, self.module, self.optimizer, self.scheduler)

    def live(self) -> bool:
        return self.outcome is self.model and self.meter.live(self.tokens)

    def batch(self) -> Batch:
        self.optimizer.zero_grad()
        return self.recipe.objective.batch(self.given, self.step, self.recipe.batch, self.streams)

    def update(self, loss: float) -> None:
        if not math.isfinite(loss):
            self.outcome = Diverged(f"the loss is {loss} at step {self.step}")
            return
        if self.recipe.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip)
        self.optimizer.step()
        self.scheduler.step()
        self.step += 1
        self.meter.offer(self.model)
        self.meter.save(lambda: {"step": self.step, **saved(self.module, self.optimizer, self.scheduler)})


class _Program:
    """The gradients of all copies at once."""

    def __init__(self, copies: list[_Copy]) -> None:
        self.copies = copies
        self.stack = Stacked([each.module for each in copies])

    def __call__(self, batches: Sequence[Batch]) -> list[float]:
        if len(self.copies) == 1 or not self._alike(batches):
            return [each.gradient(*batch) for each, batch in zip(self.copies, batches)]
        x = np.concatenate([batch.x for batch in batches])
        y = np.concatenate([batch.y for batch in batches])
        at = np.nonzero(y != IGNORE)
        logits = self.stack(torch.from_numpy(x), tuple(map(torch.from_numpy, at)))  # [k · m, V]
        losses = self._losses(logits, torch.from_numpy(y[at]))
        losses.sum().backward()
        self.stack.share()
        return losses.tolist()

    def checked(self, batches: Sequence[Batch]) -> list[float]:
        """The same; raises `SpecError` where a copy by itself would have another gradient."""
        twins: list[nn.Module] = [copy.deepcopy(each.module) for each in self.copies]
        before = torch.get_rng_state()
        losses = self(batches)
        if not torch.equal(before, torch.get_rng_state()):
            raise SpecError("this net draws random numbers while it trains; run its trainings apart", "net")
        for each, twin, batch, loss in zip(self.copies, twins, batches, losses):
            Gradient(twin, z_loss=each.recipe.z_loss)(*batch)
            for (name, own), other in zip(each.module.named_parameters(), twin.parameters()):
                if math.isfinite(loss) and not _same(own.grad, other.grad):
                    fact = f"stacked, the gradient of {name} is not that of a training by itself"
                    raise SpecError(f"{fact} to the bit; run these trainings apart", "net")
        return losses

    def _losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """[k], each as `Gradient` has it."""
        k = len(self.copies)
        count = len(labels) // k
        losses = F.cross_entropy(logits, labels, reduction="none").view(k, count).sum(1)
        if any(each.recipe.z_loss for each in self.copies):
            weights = torch.tensor([each.recipe.z_loss for each in self.copies], dtype=logits.dtype)
            losses = losses + weights * logits.logsumexp(-1).square().view(k, count).sum(1)
        losses = losses / count
        for number, each in enumerate(self.copies):
            for penalty in taken(each.penalised):
                losses = losses + F.one_hot(torch.tensor(number), k) * penalty
        return losses

    def _alike(self, batches: Sequence[Batch]) -> bool:
        """Whether all copies have a loss at as many positions, and all have packed documents, or none."""
        start = self.copies[0].module.start
        counts = {int(np.count_nonzero(batch.y != IGNORE)) for batch in batches}
        packed = {start is not None and bool((batch.x[:, 1:] == start).any()) for batch in batches}
        return len(counts) == len(packed) == 1


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b or (a is not None and b is not None and torch.equal(a, b))
