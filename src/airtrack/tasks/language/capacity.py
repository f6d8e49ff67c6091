"""How many bits about people a language model holds, from its losses on them.

All losses are in nats, summed over the tokens of a name or value and averaged over people.

Source of the formulas: Allen-Zhu and Li, Physics of Language Models: Part 3.3 (arXiv 2404.05405), Theorem 3.2 and the
definitions of R and R_max.
"""

from __future__ import annotations

import math

LN2 = math.log(2)


def bios_bits(people: int, names: float, values: float, loss_name: float, loss_value: float) -> float:
    """Bits that a model holds about bioS(N): N log₂(N₀ / e^p₁) + N log₂(S₀ / e^p₂). Over the parameters it is R.

    people      N
    names       N₀, full names there are
    values      S₀, sets of values that a person can have
    loss_name   p₁, on the name
    loss_value  p₂, on all values together

    >>> bios_bits(1000, 2.0**27, 2.0**47, 27 * LN2, 47 * LN2)  # no better than guessing
    0.0
    """
    return people * (math.log2(names) + math.log2(values) - (loss_name + loss_value) / LN2)


def bios_most_bits(people: int, names: float, values: float) -> float:
    """Bits of bioS(N) known by heart: N log₂(N₀ / N) + N log₂ S₀, the value of `bios_bits` at p₁ = ln N, p₂ = 0.

    >>> round(bios_most_bits(1000, 400 * 400 * 1000, bios_values()))
    64879
    """
    return bios_bits(people, names, values, math.log(people), 0.0)


def bios_values(
    pronouns: int = 2, cities: int = 200, universities: int = 300, majors: int = 100, employers: int = 263
) -> int:
    """S₀ = pronouns · (12 · 28 · 200) · cities · universities · majors · employers.

    The company city is a function of the employer and no knowledge about a person.

    >>> round(math.log2(bios_values()), 3)
    47.592
    """
    return pronouns * (12 * 28 * 200) * cities * universities * majors * employers


def biod_bits(
    people: int,
    names: float,
    loss_name: float,
    loss_value: float,
    loss_first: float,
    *,
    attributes: int,
    chunks: int,
    diversity: int,
    length: int,
    alphabet: int,
) -> float:
    """Bits held about bioD(N, K, C, D, L, T); over the parameters it is R:

    N log₂(N₀ / e^p₁) + N K log₂(D^C / e^p₂) + K D log₂(T^L / (D e^p₃))

    loss_value  p₂, on a value of C chunks, mean over people and attributes
    loss_first  p₃, on the first chunk of a value alone, mean over people and attributes

    >>> setting = dict(attributes=1, chunks=2, diversity=16, length=3, alphabet=8)
    >>> round(biod_bits(10, 640, math.log(10), 0.0, 0.0, **setting), 6)  # 10 · 6 + 10 · 8 + 16 · 5
    220.0
    """
    name = people * (math.log2(names) - loss_name / LN2)
    value = people * attributes * (chunks * math.log2(diversity) - loss_value / LN2)
    table = attributes * diversity * (length * math.log2(alphabet) - math.log2(diversity) - loss_first / LN2)
    return name + value + table


def biod_most_bits(
    people: int, names: float, *, attributes: int, chunks: int, diversity: int, length: int, alphabet: int
) -> float:
    """Bits of bioD known by heart: N log₂(N₀ / N) + N K C log₂ D + K D log₂(T^L / D). Over the parameters it is R_max.

    >>> round(biod_most_bits(10, 640, attributes=1, chunks=2, diversity=16, length=3, alphabet=8), 6)
    220.0
    """
    return biod_bits(
        people,
        names,
        math.log(people),
        0.0,
        0.0,
        attributes=attributes,
        chunks=chunks,
        diversity=diversity,
        length=length,
        alphabet=alphabet,
    )


def least_bits(
    people: int,
    names: float,
    loss_name: float,
    loss_value: float,
    loss_first: float,
    *,
    attributes: int,
    chunks: int,
    diversity: int,
    length: int,
    alphabet: int,
) -> float:
    """Lower bound of Theorem 3.2 on log₂ |W|, the bits that a model with these losses must have, without its o(K D):

    N log₂((N₀ − N) / e^p₁) + N K log₂(D^C / e^p₂) + K D log₂((T^L − D) / (D e^p₃))

    Where D = T^L every string is a value: there is no table to know, and the last term is left out.

    >>> setting = dict(attributes=1, chunks=2, diversity=16, length=3, alphabet=8)
    >>> least_bits(10, 640, 0.0, 0.0, 0.0, **setting) < biod_bits(10, 640, 0.0, 0.0, 0.0, **setting)
    True
    """
    name = people * (math.log2(names - people) - loss_name / LN2)
    value = people * attributes * (chunks * math.log2(diversity) - loss_value / LN2)
    taken = diversity / alphabet**length
    if taken >= 1:
        return name + value
    spare = length * math.log2(alphabet) + math.log1p(-taken) / LN2  # log₂(T^L − D), where T^L has many digits
    return name + value + attributes * diversity * (spare - math.log2(diversity) - loss_first / LN2)
