"""The one training loop, as a recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Le
from torch import nn

from airtrack.core.given import Corpus, treated
from airtrack.core.meter import Meter, State
from airtrack.core.part import Grid, Slot, SpecError, part
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams
from airtrack.nets.model import TorchLanguageModel
from airtrack.train.compiling import compiled, compiles
from airtrack.train.device import demand, seeded
from airtrack.train.gradient import Gradient, Guide
from airtrack.train.state import restore, saved


@part("train")
class Train:
    """Minimise the cross-entropy of a net on a corpus, fresh data at every step, until the budget is spent.

    net         what is trained
    optim       how
    schedule    of the learning rate, over the steps that the budget holds
    objective   what is predicted: next, the token that comes, or masked, words hidden from an encoder
    batch       sequences a step
    accumulate  pieces of a batch that go through the net one after the other: less memory, the same gradient
    clip        greatest norm of the gradient, null for none (1.0: PhysicsLM4's recipes)
    z_loss      weight of log² Σ exp(logits) in the loss (PaLM: 1e-4)
    data        other training data about the same problem: fields of the task, of those that it lists as `treatments`,
                such as {junk: 0.5} on bios; null for the data as the task has them
    recompute   make the activations of a block again for its backward pass: less memory, the same gradient
    device      cpu or cuda
    precision   of matrix products: float32, or bfloat16 on cuda; parameters and optimiser stay float32
    compile     auto: compile the net's blocks where a training is long enough to pay for it, and where that can be
                done; the model's fact `compiled` says whether it was
    share       of the budget that is left, to be spent here; the rest is for changes that follow in a `then`

    Raises `Diverged` when the loss is not finite, and `SpecError` for what is not there or does not go together: a GPU,
    a compiler, a net for the objective. On the CPU, with one thread and the same versions, the same seed gives the
    same bits, interrupted or not.

    >>> from airtrack.core.part import build
    >>> recipe = build("recipe", {"name": "train", "batch": 4,
    ...     "net": {"name": "decoder", "layers": 1, "width": 8, "heads": 2}, "optim": {"name": "adamw", "lr": 1e-2}})
    >>> task = build("task", {"name": "depo", "n": 4, "hops": 1})
    >>> given, judge = task.pose(Streams(0) / "task")
    >>> meter = Meter(budget=4 * given.length * 3)
    >>> given.metered(meter)
    >>> model = recipe.answer(given, meter, Streams(0) / "recipe")
    >>> 0 <= judge(model)["accuracy"] <= 1
    True
    """

    net: Annotated[Any, Slot("net")]
    optim: Annotated[Any, Slot("optim")]
    schedule: Annotated[Any, Slot("schedule")] = "constant"
    objective: Annotated[Any, Slot("objective")] = "next"
    batch: Annotated[int, Gt(0)] = 32
    accumulate: Annotated[int, Gt(0)] = 1
    clip: Annotated[float, Gt(0)] | None = 1.0
    z_loss: Annotated[float, Ge(0)] = 0.0
    data: Mapping[str, Any] | None = None
    recompute: bool = False
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: Literal["auto", "never", "always"] = "auto"
    share: Annotated[float, Gt(0), Le(1)] = 1.0

    accepts: ClassVar[type] = Corpus
    returns: ClassVar[type] = TorchLanguageModel

    def check(self) -> None:
        if self.batch % self.accumulate:
            fact = f"a batch of {self.batch} is not cut into {self.accumulate} equal pieces"
            raise ValueError(f"{fact}; change accumulate")
        if self.precision == "bfloat16" and self.device == "cpu":
            fact = "a CPU is slower in bfloat16 (0.46 of the speed, nanoGPT's four layers of 128, without AMX)"
            raise SpecError(f"{fact}; set float32, or device: cuda", "precision")
        if getattr(self.net, "inputs", "tokens") != "tokens":
            raise SpecError(f"{type(self.net).__name__} reads {self.net.inputs}, and a corpus has tokens", "net")
        able, needed = getattr(self.net, "objective", "next"), getattr(self.objective, "kind", "next")
        if able != needed:
            fact = f"{type(self.net).__name__} is trained with {able!r}, and this objective is of the kind {needed!r}"
            raise SpecError(f"{fact}: a decoder predicts what comes next, an encoder what is masked", "objective")

    def step_cost(self, given: Corpus) -> int:
        """Tokens of one step: the least budget that does anything."""
        return self.batch * given.length

    def refuses(self, task: Any) -> None:
        """Raises `SpecError` where a task has no such data."""
        data: Any = self.data  # or a grid of them
        for fields in data.values if isinstance(data, Grid) else (data or {},):
            treated(task, fields)

    def answer(self, given: Corpus, meter: Meter, streams: Streams, guide: Guide | None = None) -> TorchLanguageModel:
        """The trained model. guide: a further term of the loss, see `Gradient`."""
        demand(self.device)
        given = given if self.data is None else given.treated(self.data)
        tokens = self.step_cost(given)
        kept = meter.resume()
        step: int = 0 if kept is None else kept["step"]
        steps = int(self.share * (meter.budget - meter.spent + step * tokens) // tokens)
        model = self._model(given, streams)
        module = model.module.to(self.device)
        if self.recompute:
            _recompute(module)
        fast = compiles(self.compile, self.net, module, (given.vocab, given.length, steps * self.batch))
        model.facts["compiled"] = float(fast)
        optimizer = self.optim.build(module)
        scheduler = self.schedule.build(optimizer, steps)
        half = self.precision == "bfloat16"
        gradient = Gradient(module, pieces=self.accumulate, z_loss=self.z_loss, half=half, guide=guide)
        parameters = list(module.parameters())
        module.train()
        with seeded(streams / "steps", self.device), compiled(module) if fast else nullcontext():
            if kept is not None:
                restore(kept, module, optimizer, scheduler)
            while step < steps and meter.live(tokens):
                x, y = self.objective.batch(given, step, self.batch, streams)
                optimizer.zero_grad()
                loss = gradient(x, y, step / steps)
                if not math.isfinite(loss):
                    raise Diverged(f"the loss is {loss} at step {step}")
                if self.clip is not None:
                    torch.nn.utils.clip_grad_norm_(parameters, self.clip)
                optimizer.step()
                scheduler.step()
                step += 1
                meter.offer(model)
                meter.save(lambda: {"step": step, **saved(module, optimizer, scheduler)})
        return model

    def pack(self, answer: TorchLanguageModel) -> State:
        return {"state": answer.state(), "facts": answer.facts}

    def unpack(self, state: State, given: Corpus) -> TorchLanguageModel:
        model = self._model(given, Streams(0))
        model.load_state(state["state"])
        model.facts |= state["facts"]
        return model

    def environment(self) -> dict[str, str]:
        """What a readout says of the machine beside versions: the GPU, where one is used."""
        return {"gpu": torch.cuda.get_device_name()} if self.device == "cuda" else {}

    def _model(self, given: Corpus, streams: Streams) -> TorchLanguageModel:
        vocab = given.vocab + getattr(self.objective, "extra_ids", 0)
        size = {"vocab": vocab, "length": given.length, "start": given.start}
        model = TorchLanguageModel.new(self.net, streams / "init", **size)
        model.facts["parameters"] = sum(p.numel() for p in model.module.parameters())
        return model


def _recompute(module: nn.Module) -> None:
    if not hasattr(module, "recompute"):
        fact = f"{type(module).__name__} cannot make its activations again: it has no attribute `recompute`"
        raise SpecError(f"{fact}; set recompute: false", "recompute")
    module.recompute = True  # type: ignore[assignment]
