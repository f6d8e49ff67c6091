"""`airtrack compare`: which number belongs to which seed."""

import pytest
from typer.testing import CliRunner

from airtrack.cli import app

A = [3.1, 2.9, 3.3, 3.0, 3.2, 3.1, 2.8, 3.0]
B = [2.0, 2.1, 2.2, 1.9, 2.1, 2.0, 2.0, 1.9]


@pytest.fixture
def compare(tmp_path):
    def run(a, b, *options, encoding="utf-8"):
        for name, text in (("a", a), ("b", b)):
            (tmp_path / f"{name}.csv").write_text(text, encoding)
        result = CliRunner().invoke(app, ["compare", str(tmp_path / "a.csv"), str(tmp_path / "b.csv"), *options])
        return result.exit_code, " ".join((result.stdout + result.stderr).split())

    return run


def lines(values, header=""):
    return header + "\n".join(map(str, values)) + "\n"


@pytest.mark.parametrize("header", ["", "loss\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_every_row_counts(compare, header, encoding):
    code, told = compare(lines(A, header), lines(B, header), encoding=encoding)
    assert code == 0
    assert "a is better than b by 1.02 [0.91, 1.14] (8 paired seeds" in told


def test_seeds_are_matched_by_name(compare):
    a = "seed,score\n" + "".join(f"{i},{v}\n" for i, v in enumerate(A))
    b = "seed,score\n" + "".join(f"{i},{v}\n" for i, v in reversed(list(enumerate(B))))
    assert "1.02 [0.91, 1.14]" in compare(a, b)[1]
    code, told = compare(a, b.replace("7,", "9,"))
    assert code == 2
    assert "do not hold the same seeds once each (look at 7, 9)" in told


def test_a_decimal_comma_is_refused(compare):
    code, told = compare(lines(A), lines(B)[:-4] + "1,9\n")
    assert code == 2
    assert "separate columns by commas and decimals by points" in told
