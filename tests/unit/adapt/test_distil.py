"""Distillation against its definition, its end, and an interruption."""

import numpy as np
import pytest
import torch

from airtrack.core.meter import Meter
from airtrack.core.part import SpecError, build
from airtrack.core.streams import Streams
from airtrack.study.ledger import Ledger, run_in
from airtrack.study.trial import Trial, perform

TASK = {"name": "depo", "n": 4, "hops": 1}


def train(layers=1, **fields):
    net = {"name": "decoder", "layers": layers, "width": 16, "heads": 2, "canon": "A"}
    return {"name": "train", "net": net, "optim": {"name": "adamw", "lr": 1e-2}, "batch": 4} | fields


def posed(steps):
    task = build("task", TASK)
    given = task.pose(Streams(0) / "task").given
    meter = Meter(steps * 4 * given.length)
    given.metered(meter)
    return given, meter


def taught(steps=10, **fields):
    given, meter = posed(20)
    teacher = build("recipe", train(layers=2)).answer(given, meter, Streams(0) / "teacher")
    given, meter = posed(steps)
    change = build("change", {"name": "distil", "student": train(), **fields})
    return teacher, change.change(teacher, given, meter, Streams(0) / "student"), meter


def plain(steps=10):
    given, meter = posed(steps)
    return build("recipe", train()).answer(given, meter, Streams(0) / "student")


def equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a.state().values(), b.state().values()))


def test_the_term_is_the_divergence_from_the_teacher():
    given, _ = posed(1)
    module = build("net", train()["net"]).build(given.vocab, Streams(1), length=given.length).double()
    other = build("net", train(layers=2)["net"]).build(given.vocab, Streams(2), length=given.length).double()
    ids = torch.from_numpy(given.batch(0, 3).x)
    at = (torch.tensor([0, 2, 1]), torch.tensor([5, 1, 8]))
    change = build("change", {"name": "distil", "student": train(), "weight": 0.3, "temperature": 2.0})
    term = change._guide(other)(ids, at, module(ids, at), 0.0)
    p, q = ((m(ids)[at] / 2).softmax(-1) for m in (other, module))
    assert torch.allclose(term, 0.3 * 4 * (p * (p / q).log()).sum(), rtol=1e-10)
    grads = torch.autograd.grad(term, list(module.parameters()), retain_graph=True)
    assert all(g.isfinite().all() for g in grads)
    assert all(p.grad is None for p in other.parameters())
    assert change._guide(other)(ids, at, module(ids, at), 0.7) is None


def test_until_nought_is_no_teacher_at_all():
    assert equal(taught(until=0.0)[1], plain())
    assert not equal(taught(until=0.2)[1], plain())
    assert not equal(taught(until=0.2)[1], taught(until=1.0)[1])


def test_a_student_of_a_heavy_teacher_comes_near_it():
    def distance(student, teacher):
        ids = posed(100)[0].batch(7, 64).x
        p, q = teacher.log_probs(ids), student.log_probs(ids)
        return (np.exp(p) * (p - q)).sum(-1).mean()

    teacher, student, _ = taught(60, weight=30.0, until=1.0)
    assert distance(student, teacher) < 0.5 * distance(plain(60), teacher)


def test_the_teacher_stays_and_its_work_is_not_counted():
    teacher, _, meter = taught()
    assert meter.spent == meter.budget
    assert equal(teacher, taught()[0])


def then():
    return {"name": "then", "first": train(layers=2, share=0.5), "changes": [{"name": "distil", "student": train()}]}


def test_a_share_of_the_budget_is_left_for_the_student(tmp_path):
    given, _ = posed(1)
    budget = 20 * 4 * given.length
    trial = Trial(build("task", TASK), build("recipe", then()), 0, budget)
    readout, answer = perform(trial)
    assert readout.spent == budget
    assert len(answer.module.blocks) == 1
    ledger = Ledger(tmp_path)  # with the teacher's training kept as a trial of its own
    first = Trial(trial.task, trial.recipe.first, 0, budget)
    assert run_in(ledger, first, keep=True).spent == budget / 2
    assert run_in(ledger, trial).metrics == readout.metrics


def test_an_interrupted_student_goes_on_to_the_same_bits(tmp_path):
    given, _ = posed(1)
    budget = 20 * 4 * given.length
    trial = Trial(build("task", TASK), build("recipe", then()), 0, budget)
    first, teacher = perform(trial.with_recipe(trial.recipe.first))
    kept = {"answer": trial.recipe.first.pack(teacher), "spent": first.spent}

    def prefix(recipe):
        return kept if recipe == trial.recipe.first else None

    whole, answer = perform(trial, prefix=prefix)
    file = tmp_path / "state.npz"
    perform(trial, prefix=prefix, checkpoint=file, every=0.0, cap=0.8 * budget)
    assert file.exists()
    again, resumed = perform(trial, prefix=prefix, checkpoint=file, every=0.0)
    assert again.metrics == whole.metrics
    assert equal(resumed, answer)


def test_a_mixture_of_students():
    """DeepSpeed-MoE's: residual and pyramid mixtures, a student of fewer layers, its teacher for a time."""
    mixture = {"name": "moe", "experts": 2, "residual": True, "pyramid": 2}
    nets = [train(layers)["net"] | {"mlp": mixture} for layers in (3, 2)]
    student = {"name": "distil", "student": train(net=nets[1]), "until": 0.7}
    recipe = {"name": "then", "first": train(net=nets[0], share=0.5), "changes": [student]}
    given, _ = posed(1)
    trial = Trial(build("task", TASK), build("recipe", recipe), 0, 60 * 4 * given.length)
    readout, answer = perform(trial)
    assert [len(block.mlp.experts) for block in answer.module.blocks] == [4, 4]
    assert readout.state == "done"
    untrained, _ = perform(Trial(trial.task, trial.recipe, 0, 2 * 4 * given.length))
    assert readout.metrics["loss"] < untrained.metrics["loss"]


def test_bad_fields_are_refused():
    with pytest.raises(SpecError, match="until"):
        build("change", {"name": "distil", "student": train(), "until": 1.5})
    with pytest.raises(SpecError, match="student"):
        build("change", {"name": "distil", "student": "rtn"})
    with pytest.raises(SpecError, match="share"):
        build("recipe", train(share=0.0))
    net = {"name": "perceptron", "widths": [8]}
    with pytest.raises(SpecError, match="Perceptron reads images, and a corpus has tokens"):
        build("recipe", train(net=net))
