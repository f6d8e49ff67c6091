"""Bits of the settings in Physics of Language Models: Part 3.3 (arXiv 2404.05405)."""

import math

import pytest

from airtrack.tasks.language.biod import Biod
from airtrack.tasks.language.bios import Bios
from airtrack.tasks.language.capacity import biod_bits, bios_bits, bios_most_bits, bios_values, least_bits


def test_sizes_of_the_spaces():
    assert math.log2(bios_values()) == pytest.approx(47.592, abs=5e-4)
    assert math.log2(Bios(people=1).most_people) == pytest.approx(27.253, abs=5e-4)


@pytest.mark.parametrize(
    ("people", "bits"), [(1000, 64_879), (10_000, 615_574), (50_000, 2_962_000), (100_000, 5_824_000)]
)
def test_bits_of_bios(people, bits):
    assert Bios(people=people).most_bits == pytest.approx(bits, rel=2e-4)
    assert bios_bits(people, 1.6e8, bios_values(), math.log(people), 0) == pytest.approx(bits, rel=2e-4)


def test_most_bits_of_bios_by_hand():
    """8 people out of 64 names: 3 bits each; 2¹⁰ sets of values: 10 bits each."""
    assert bios_most_bits(8, 64, 1024) == pytest.approx(8 * (3 + 10))
    assert bios_bits(8, 64, 1024, math.log(64), math.log(1024) / 2) == pytest.approx(8 * 5)
    assert bios_values(3, 2, 3, 5, 7) == 3 * 67_200 * 210


def test_bits_of_biod_by_hand():
    """16 people out of 64: 2 bits; K = 3, C = 2, D = 8: 6 bits a value; T^L = 2¹⁰: sets of 7 bits a string."""
    shape = {"attributes": 3, "chunks": 2, "diversity": 8, "length": 5, "alphabet": 4}
    most = 16 * 2 + 16 * 3 * 6 + 3 * 8 * 7
    assert biod_bits(16, 64, math.log(16), 0, 0, **shape) == pytest.approx(most)
    task = Biod(people=16, names=(4, 4, 4), **shape)
    assert task.most_bits == pytest.approx(most)
    losses = (math.log(32), math.log(4), math.log(2))  # one bit, two, one are missing
    assert biod_bits(16, 64, *losses, **shape) == pytest.approx(16 * 1 + 16 * 3 * 4 + 3 * 8 * 6)
    bound = 16 * math.log2(48 / 32) + 16 * 3 * 4 + 24 * math.log2((1024 - 8) / 16)
    assert least_bits(16, 64, *losses, **shape) == pytest.approx(bound)


def test_the_bound_where_every_string_is_a_value_or_strings_are_long():
    every = {"attributes": 1, "chunks": 1, "diversity": 8, "length": 3, "alphabet": 2}
    assert least_bits(2, 10, 0, 0, 0, **every) == pytest.approx(2 * 3 + 2 * 3)
    long = {"attributes": 1, "chunks": 1, "diversity": 10, "length": 50, "alphabet": 40_000}
    bound = least_bits(2, 10, 0, 0, 0, **long)
    assert bound == pytest.approx(2 * 3 + 2 * math.log2(10) + 10 * (50 * math.log2(40_000) - math.log2(10)))


def test_published_shapes():
    """R_max of the largest shapes of Section 2 is finite and the sum of its three terms."""
    task = Biod.preset("part3.3", people=10_000, attributes=50, chunks=50, diversity=10, length=50, alphabet=40_000)
    names, values = 10_000 * math.log2(1.6e8 / 1e4), 10_000 * 2500 * math.log2(10)
    table = 500 * (50 * math.log2(40_000) - math.log2(10))
    assert task.most_bits == pytest.approx(names + values + table)
