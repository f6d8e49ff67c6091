import math

import pytest
import torch

from airtrack.core.part import SpecError
from airtrack.optim.constant import Constant
from airtrack.optim.cosine import Cosine
from airtrack.optim.exponential import Exponential
from airtrack.optim.linear import Linear


def rates(schedule, steps, updates=None, lr=0.5):
    """The step size of every update."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler, used = schedule.build(optimizer, steps), []
    for _ in range(updates or steps):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return used


CLOSED = [  # schedule, and its factor after p of the rest is done
    (Constant, {}, lambda p: 1.0),
    (Linear, {}, lambda p: 1 - p),
    (Linear, {"floor": 0.2}, lambda p: 1 - 0.8 * p),
    (Cosine, {}, lambda p: 0.1 + 0.9 * (1 + math.cos(math.pi * p)) / 2),
    (Cosine, {"floor": 0.0}, lambda p: (1 + math.cos(math.pi * p)) / 2),
    (Exponential, {"ratio": 0.01}, lambda p: 0.01**p),
]


@pytest.mark.parametrize(("schedule", "fields", "shape"), CLOSED)
@pytest.mark.parametrize(("warmup", "steps"), [(0, 1), (0, 10), (3, 10), (9, 10), (10, 10)])
def test_closed_form(schedule, fields, shape, warmup, steps):
    used = rates(schedule(warmup=warmup, **fields), steps, steps + 3)
    for k, rate in enumerate(used):
        if k < warmup:
            expected = (k + 1) / warmup
        elif k < steps:
            expected = shape((k - warmup) / (steps - warmup))
        else:
            expected = shape(1.0)  # past the end: no rise again, no division by nothing
        assert rate == pytest.approx(0.5 * expected, rel=1e-12, abs=1e-15), k


def test_exponential_of_the_paper():
    """η_t = η_0 a^t with a = (β/T)^(1/T)."""
    T, beta = 50, 5.0
    used = rates(Exponential(beta=beta), T, T + 1, lr=0.1)
    a = (beta / T) ** (1 / T)
    assert used == pytest.approx([0.1 * a**t for t in range(T + 1)], rel=1e-12)
    assert used[-1] / used[0] == pytest.approx(beta / T)


def test_cosine_is_torchs():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    theirs, used = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20, eta_min=0.05), []
    for _ in range(20):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    assert rates(Cosine(floor=0.1), 20) == pytest.approx(used, rel=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(warmup=-1), "warmup: input should be greater than or equal to 0"),
        (lambda: Linear(floor=1.5), "floor: input should be less than or equal to 1"),
        (lambda: Exponential(ratio=0.0), "ratio: input should be greater than 0"),
        (lambda: Exponential(ratio=0.1, beta=2.0), "beta 2 and ratio 0.1 both say"),
        (lambda: Exponential(beta=0.5), "beta: input should be greater than or equal to 1"),
        (lambda: rates(Constant(warmup=11), 10), "a warm-up of 11 steps does not fit into 10"),
        (lambda: rates(Exponential(beta=20.0), 10), "beta 20 would raise the step size; choose beta ≤ 10"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(SpecError, match=message):
        make()
