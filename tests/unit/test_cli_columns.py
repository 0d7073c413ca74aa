"""Tables and advice as text: nothing is wider than the terminal, and nothing is lost."""

from __future__ import annotations

from functools import cache

import pytest
from fit_machines import ALL, catalogue
from hypothesis import given
from hypothesis import strategies as st

from localr1.cli import advise, columns
from localr1.cli.columns import Column
from localr1.fit import advisor
from localr1.fit.types import Advice

_word = st.text("abcdefg", min_size=1, max_size=8)


def test_columns_stand_under_their_titles() -> None:
    lines = columns.table(
        [Column("name"), Column("size", right=True), Column("why")],
        [["a", "1,000", "short"], ["longer", "2", "one two three"]],
        24,
    )
    assert lines == [
        "name     size  why",
        "a       1,000  short",
        "longer      2  one two",
        "               three",
    ]


@given(
    rows=st.lists(st.tuples(_word, _word, st.lists(_word, max_size=9).map(" ".join)), max_size=5),
    width=st.integers(40, 120),
)
def test_a_table_is_never_too_wide_and_keeps_every_word(
    rows: list[tuple[str, str, str]], width: int
) -> None:
    titles = [Column("one"), Column("two", right=True), Column("three")]
    lines = columns.table(titles, rows, width)
    assert all(len(line) <= width for line in lines)
    words = " ".join(lines).split()
    assert sorted(words) == sorted(f"one two three {' '.join(map(' '.join, rows))}".split())


@given(text=st.lists(_word, min_size=1, max_size=40).map(" ".join), width=st.integers(20, 100))
def test_wrapped_text_keeps_every_word(text: str, width: int) -> None:
    lines = columns.wrapped(text, width, mark="- ", indent=1)
    assert all(len(line) <= width for line in lines)
    assert lines[0].startswith(" - ")
    assert all(line.startswith("   ") for line in lines[1:])
    assert " ".join(" ".join(lines).split()[1:]) == text


@cache
def _advice(name: str) -> Advice:
    known = catalogue()
    loss = known.quantization_loss
    return advisor.advise(
        ALL[name], known.models, "balanced", quantization_loss=loss, every_variant=False
    )


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", ["8 GB laptop", "RTX 4060 laptop", "M2 16 GB", "1 GB"])
def test_advice_fits_the_terminal(name: str, width: int) -> None:
    known, advice = catalogue(), _advice(name)
    lines = list(advise._lines(advice, ALL[name], width, every_variant=False))
    assert max(len(line) for line in lines) <= width
    text = " ".join(lines)
    assert "The full R1: DeepSeek-R1-0528" in text
    for model in known.models:
        assert model.name.removeprefix("DeepSeek-") in text or model.demo
    first = advice.plans[0]
    if first.fits and not first.model.demo:
        assert f"localr1 pull {first.model.id}:{first.variant.quantization}" in text
    else:
        assert "localr1 chat demo" in text
