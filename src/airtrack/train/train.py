"""The one training loop, as a recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Gt

from airtrack.core.given import IGNORE, Corpus, treated
from airtrack.core.meter import Meter, State
from airtrack.core.part import Grid, Slot, part
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams
from airtrack.nets.model import TorchLanguageModel
from airtrack.nets.start import scoped


@part("train")
class Train:
    """Minimise the cross-entropy of a net on a corpus, fresh data at every step, until the budget is spent.

    net       what is trained
    optim     how
    schedule  of the learning rate, over the steps that the budget holds
    batch     sequences a step
    clip      greatest norm of the gradient, null for none (1.0: PhysicsLM4's recipes)
    data      other training data about the same problem: fields of the task, of those that it lists as `treatments`,
              such as {junk: 0.5} on bios; null for the data as the task has them

    Raises `Diverged` when the loss is not finite. With one thread and the same versions, the same seed gives the
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
    batch: Annotated[int, Gt(0)] = 32
    clip: Annotated[float, Gt(0)] | None = 1.0
    data: Mapping[str, Any] | None = None

    accepts: ClassVar[type] = Corpus
    returns: ClassVar[type] = TorchLanguageModel

    def step_cost(self, given: Corpus) -> int:
        """Tokens of one step: the least budget that does anything."""
        return self.batch * given.length

    def refuses(self, task: Any) -> None:
        """Raises `SpecError` where a task has no such data."""
        data: Any = self.data  # or a grid of them
        for fields in data.values if isinstance(data, Grid) else (data or {},):
            treated(task, fields)

    def answer(self, given: Corpus, meter: Meter, streams: Streams) -> TorchLanguageModel:
        given = given if self.data is None else given.treated(self.data)
        tokens = self.step_cost(given)
        model = self._model(given, streams)
        module = model.module
        optimizer = self.optim.build(module)
        scheduler = self.schedule.build(optimizer, int(meter.budget // tokens))
        parameters = list(module.parameters())
        step = 0
        if (saved := meter.resume()) is not None:
            step = saved["step"]
            module.load_state_dict(_tensors(saved["module"]))
            kept = _tensors(saved["optimizer"])
            groups = [g | kept["groups"][str(i)] for i, g in enumerate(optimizer.state_dict()["param_groups"])]
            optimizer.load_state_dict({"state": {int(i): s for i, s in kept["state"].items()}, "param_groups": groups})
            scheduler.load_state_dict(saved["scheduler"])
        module.train()
        with scoped(streams / "steps"):  # what a block draws from torch's global generator, dropout say
            if saved is not None:
                torch.set_rng_state(torch.from_numpy(saved["generator"]))
            while meter.live(tokens):
                x, y = given.batch(step, self.batch)
                at = np.nonzero(y != IGNORE)
                logits = module(torch.from_numpy(x), tuple(map(torch.from_numpy, at)))  # [m, V], where there is a loss
                loss = F.cross_entropy(logits, torch.from_numpy(y[at]))
                if not math.isfinite(loss.item()):
                    raise Diverged(f"the loss is {loss.item()} at step {step}")
                optimizer.zero_grad()
                loss.backward()
                if self.clip is not None:
                    torch.nn.utils.clip_grad_norm_(parameters, self.clip)
                optimizer.step()
                scheduler.step()
                step += 1
                meter.offer(model)
                meter.save(
                    lambda: {
                        "step": step,
                        "module": _arrays(module.state_dict()),
                        "optimizer": _optimizer(optimizer),
                        "scheduler": scheduler.state_dict(),
                        "generator": torch.get_rng_state().numpy(),
                    }
                )
        return model

    def pack(self, answer: TorchLanguageModel) -> State:
        return answer.state()

    def unpack(self, state: State, given: Corpus) -> TorchLanguageModel:
        model = self._model(given, Streams(0))
        model.load_state(state)
        return model

    def _model(self, given: Corpus, streams: Streams) -> TorchLanguageModel:
        size = {"vocab": given.vocab, "length": given.length, "start": given.start}
        model = TorchLanguageModel.new(self.net, streams / "init", **size)
        model.facts["parameters"] = sum(p.numel() for p in model.module.parameters())
        return model


def _optimizer(optimizer: torch.optim.Optimizer) -> State:
    """Its state and the options of its groups, which some optimisers change as they go."""
    now = optimizer.state_dict()
    groups = {i: {k: v for k, v in g.items() if k != "params"} for i, g in enumerate(now["param_groups"])}
    return _arrays({"state": now["state"], "groups": groups})


def _arrays(tree: Mapping[Any, Any]) -> State:
    """Tensors as numpy arrays that share no memory with them."""

    def leaf(value: Any) -> Any:
        if isinstance(value, Mapping):
            return _arrays(value)
        return value.detach().cpu().numpy().copy() if isinstance(value, torch.Tensor) else value

    return {str(k): leaf(v) for k, v in tree.items()}


def _tensors(tree: State) -> dict[str, Any]:
    def leaf(value: Any) -> Any:
        if isinstance(value, dict):
            return _tensors(value)
        return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value

    return {k: leaf(v) for k, v in tree.items()}
