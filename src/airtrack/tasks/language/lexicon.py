"""Invented names, cities, universities, majors and employers for biographies: nobody and nothing that exists."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from airtrack.core.given import Ints
from airtrack.core.streams import Streams

MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October")
MONTHS += ("November", "December")
DAYS, YEARS = tuple(map(str, range(1, 29))), tuple(map(str, range(1900, 2100)))

ONSETS = "b br c d dr f fl g gl h j k kr l m n p pl r s sk st t tr v w y z"
VOWELS = "a a a e e i i o o u ai ea oa ie"  # single ones more often
MIDDLES = "b d f g k l m n p r s t v z"  # between a syllable and an ending in a vowel
FIRST_ENDS = "a el en ia in is o on or us ine"
MIDDLE_ENDS = "an as eth iel il ith ol om oru une"
LAST_ENDS = "ack and ard eck enko ert esk ier ig ikov ild olm ond orf ov ugh ulf usk"
CITY_ENDS = "abad borough bury by dale field ford gate ham haven mere minster mouth ness polis port stead ton wick"
SCHOOL_ENDS = "ane ara ein elle en enna era iel ia ine onne ora"
SCHOOLS = ("University of {}", "{} University", "{} College", "{} State University", "{} Institute of Technology")
FIRM_ENDS = "aco amo atec ex ico ivo oda onix um ura"
FIRMS = "Airways Bank Brothers Capital Chemicals Clinics Construction Electric Energy Foods Freight Group Holdings "
FIRMS += "Industries Instruments Laboratories Logistics Media Motors Partners Pharma Publishing Robotics Steel Systems"
HUB = 36  # employers in the first company city: 13.7 % of 263, as in PhysicsLM4's list


class Lexicon(NamedTuple):
    """Words that people are made of. All names, and the proper name in every value, are distinct across all lists."""

    first: tuple[str, ...]  # 400
    middle: tuple[str, ...]  # 400
    last: tuple[str, ...]  # 1000
    cities: tuple[str, ...]  # 200, of birth
    universities: tuple[str, ...]  # 300
    majors: tuple[str, ...]  # 100
    employers: tuple[str, ...]  # 263
    company_cities: tuple[str, ...]  # 133
    seat: Ints  # [263] company city of every employer


@cache
def lexicon() -> Lexicon:
    """The lexicon: the same 2896 entries everywhere.

    Sizes are those of bioS (Allen-Zhu and Li, Physics of Language Models: Part 3.1, arXiv 2309.14316), and so is the
    share of the most frequent company city.

    >>> words = lexicon()
    >>> len(words.first), len(words.last), len(words.employers), len(set(words.seat.tolist()))
    (400, 1000, 263, 133)
    >>> words.first[0], words.universities[0], words.employers[0]
    ('Wifo', 'University of Fefane', 'Yiebivo Airways')
    """
    taken: set[str] = set()
    first = _names("first", 400, 1, FIRST_ENDS, taken)
    middle = _names("middle", 400, 1, MIDDLE_ENDS, taken)
    last = _names("last", 1000, 1, LAST_ENDS, taken)
    cities = _names("cities", 333, 2, CITY_ENDS, taken)
    schools = _names("universities", 300, 1, SCHOOL_ENDS, taken)
    firms = _names("employers", 263, 1, FIRM_ENDS, taken)
    kinds = FIRMS.split()
    seat = np.concatenate((np.zeros(HUB, np.int64), np.arange(1, 133), 1 + np.arange(263 - HUB - 132) % 132))
    return Lexicon(
        first,
        middle,
        last,
        cities[:200],
        tuple(SCHOOLS[i % len(SCHOOLS)].format(name) for i, name in enumerate(schools)),
        tuple(Path(__file__).with_name("majors.txt").read_text("utf-8").split("\n")[:100]),
        tuple(f"{name} {kinds[i % len(kinds)]}" for i, name in enumerate(firms)),
        cities[200:],
        (Streams(0) / "lexicon" / "seats").rng().permutation(seat),
    )


def _names(what: str, count: int, syllables: int, ends: str, taken: set[str]) -> tuple[str, ...]:
    """Distinct words of some syllables and an ending, unlike all taken before."""
    rng = (Streams(0) / "lexicon" / what).rng()

    def one(parts: str) -> str:
        choice = parts.split()
        return choice[int(rng.integers(len(choice)))]

    found: list[str] = []
    while len(found) < count:
        stem, end = "".join(one(ONSETS) + one(VOWELS) for _ in range(syllables)), one(ends)
        word = (stem + (one(MIDDLES) if end[0] in "aeiou" else "") + end).capitalize()
        if word not in taken:
            taken.add(word)
            found.append(word)
    return tuple(found)
