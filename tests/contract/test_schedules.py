"""What every schedule owes the training loop."""

import math

import pytest
import torch

from airtrack.core.part import SpecError, build, known, lookup, to_spec

NAMES = list(known("schedule"))


def example(name, **fields):
    cls = lookup("schedule", name)
    assert hasattr(cls, "example"), f"give {cls.__name__} a class variable `example`: the fields of a small one"
    return cls(**(cls.example | fields))


def optimiser():
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    return torch.optim.SGD([{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.25}], lr=1.0)


def run(optimizer, scheduler, updates):
    used = []
    for _ in range(updates):
        used.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return used


@pytest.mark.parametrize("name", NAMES)
def test_specification_makes_an_equal_part(name):
    assert build("schedule", to_spec(example(name))) == example(name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [1, 2, 40])
def test_step_sizes_make_sense(name, steps):
    optimizer = optimiser()
    scheduler = example(name).build(optimizer, steps)
    assert isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler)
    used = run(optimizer, scheduler, steps + 2)
    assert all(math.isfinite(a) and 0 <= a <= 1 for a, _ in used)
    assert all(a > 0 for a, _ in used[:steps])  # no update of the budget is idle
    assert [b for _, b in used] == pytest.approx([a / 4 for a, _ in used])  # every group has its own size


@pytest.mark.parametrize("name", NAMES)
def test_warm_up_is_a_straight_line_to_the_full_size(name):
    optimizer = optimiser()
    used = run(optimizer, example(name, warmup=4).build(optimizer, 40), 5)
    assert [a for a, _ in used] == [0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize("name", NAMES)
def test_warm_up_that_does_not_fit_is_refused(name):
    with pytest.raises(SpecError, match="warm-up of 9 steps does not fit into 8"):
        example(name, warmup=9).build(optimiser(), 8)


@pytest.mark.parametrize("name", NAMES)
def test_resumes_to_the_same_bits(name):
    optimizer = optimiser()
    whole = run(optimizer, example(name, warmup=4).build(optimizer, 40), 40)
    first = optimiser()
    scheduler = example(name, warmup=4).build(first, 40)
    run(first, scheduler, 17)
    states = first.state_dict(), scheduler.state_dict()
    second = optimiser()
    again = example(name, warmup=4).build(second, 40)
    second.load_state_dict(states[0])
    again.load_state_dict(states[1])
    assert run(second, again, 23) == whole[17:]
