"""Formulas are shown as they are written: no value changes, nothing is lost, nothing hangs."""

from __future__ import annotations

import re
import time
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from conftest import SOAK
from formulas import FORMULAS, WRITTEN, Formula, Written, signs_of, value_of_line, value_of_picture
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from localr1.mathematics import in_a_block, in_one_line
from localr1.mathematics.alphabets import in_alphabet, lowered, raised
from localr1.mathematics.box import cells
from localr1.mathematics.symbols import COMMANDS
from localr1.printable import printable

CORPUS = Path(__file__).parents[1] / "data" / "mathematics" / "corpus.txt"
WIDTH_CELLS = 76
thorough = settings(max_examples=3000 if SOAK else 300, deadline=None)


# The corpus


def corpus_text(lines: list[str]) -> str:
    """The corpus with what its formulas look like now."""
    shown: list[str] = []
    for line in lines:
        if line.startswith("% "):
            shown += [line, ""]
        elif line.startswith("# "):
            source = line[2:]
            flat = in_one_line(source)
            drawn = in_a_block(source, WIDTH_CELLS)
            shown += [line, "= (source)" if flat is None else f"= {flat}"]
            shown += [f"  {row}".rstrip() for row in drawn or ("(source)",)]
            shown.append("")
    return "\n".join(shown).rstrip() + "\n"


def test_the_corpus_looks_as_it_was_approved(pytestconfig: pytest.Config) -> None:
    lines = CORPUS.read_text(encoding="utf-8").splitlines()
    shown = corpus_text(lines)
    if pytestconfig.getoption("update_snapshots"):
        CORPUS.write_text(shown, encoding="utf-8")
    assert shown.splitlines() == CORPUS.read_text(encoding="utf-8").splitlines()
    assert sum(line.startswith("# ") for line in lines) >= 300


def test_what_is_not_known_is_shown_as_source() -> None:
    for source in (
        *(
            r"\frac{1}{2",
            r"\unknown{x}",
            r"x^2^3",
            r"x_1_2",
            r"\left( x",
            r"a } b",
            r"\end{matrix}",
        ),
        *(r"\begin{matrix} 1 \end{pmatrix}", r"\sqrt", "^", r"\text{a \unknown b}", r"\frac", ""),
        *(
            r"\newcommand{\x}{1}",
            r"\begin{array}{p{3cm}} 1 \end{array}",
            r"\mathcal{1}",
            "x\x1b[31m",
        ),
        *("x\u202e1", "\u0301x", r"\not x", "{" * 100, r"\text{$x$}", r"\mathbf{\text{é}}\zzz"),
    ):
        assert in_one_line(source) is None, source
        assert in_a_block(source, WIDTH_CELLS) is None, source


def test_equations_side_by_side_have_a_gap() -> None:
    line = in_one_line(r"\begin{aligned} x &= 3 & y &= 4 \end{aligned}")
    assert line is not None
    assert line.split("    ") == ["x = 3", "y = 4"]
    two = in_one_line(r"\begin{align}a&=b&c&=d\\e&=f&g&=h\end{align}")
    assert two == "a = b    c = d; e = f    g = h"


@pytest.mark.parametrize("source", [r"\overset{1}{3}47", r"\stackrel{2}{x}", r"\underset{2}{x}"])
def test_what_stands_over_a_sign_is_no_exponent(source: str) -> None:
    assert in_one_line(source) is None
    block = in_a_block(source, 40)
    assert block is not None
    assert len(block) == 2


def test_what_a_known_converter_gets_wrong_is_right_here() -> None:
    assert in_one_line(r"\dfrac{1}{2}·3^{x+1}") == "1/2 · 3ˣ⁺¹"
    assert in_one_line(r"\frac{a}{b+c}") == "a/(b+c)"
    assert in_one_line("x^{a/b}y") == "x^(a/b)y"
    assert in_one_line(r"\frac{1}{2}x") == "(1/2)x"
    assert in_one_line(r"2{}^{14}C") == "2 ¹⁴C"
    assert in_one_line("1 000") == "1 000"
    assert in_one_line(r"x^2\sqrt{3}") == "x² √3"
    assert in_one_line(r"x\sqrt[n]{3}") == "x ⁿ√3"
    assert in_one_line(r"0.1\overline{6}") == "0.16\u0305"
    assert in_one_line(r"1\hat{6}") == "1 6\u0302"


# Values


@thorough
@given(FORMULAS)
def test_a_line_is_worth_what_the_formula_is_worth(formula: Formula) -> None:
    flat = in_one_line(formula.latex)
    assume(flat is not None)  # too deep
    assert flat is not None
    assert value_of_line(flat) == formula.value, flat


@thorough
@given(FORMULAS)
def test_a_picture_is_worth_what_the_formula_is_worth(formula: Formula) -> None:
    drawn = in_a_block(formula.latex, 500)
    assume(drawn is not None)
    assert drawn is not None
    assert value_of_picture(drawn) == formula.value, "\n" + "\n".join(drawn)


def numbers_of(text: str) -> Counter[str]:
    # Digits with a line or a dot are a part of the number before them: 0.16̅.
    text = re.sub("[0-9][\u0304\u0305\u0307\u0332]", " ", text)
    apart = "".join(" " if unicodedata.combining(c) else c for c in text)
    return Counter(re.findall("[0-9]+", apart))


@thorough
@given(WRITTEN)
def test_no_sign_is_lost_added_or_joined_with_another(written: Written) -> None:
    numbers = numbers_of(written.latex)
    flat = in_one_line(written.latex)
    if flat is not None:
        assert signs_of(flat) == written.signs
        assert not numbers_of(flat) - numbers
    drawn = in_a_block(written.latex, 500)
    if drawn is not None:
        text = "\n".join(drawn)
        assert Counter(signs_of(text)) == Counter(written.signs)
        assert not numbers_of(text) - numbers


@thorough
@given(WRITTEN, st.integers(10, 120))
def test_no_line_is_wider_than_there_is_room(written: Written, width_cells: int) -> None:
    drawn = in_a_block(written.latex, width_cells)
    for line in drawn or ():
        assert cell_len(line) <= width_cells


def test_a_wide_formula_is_broken_then_one_line_then_source() -> None:
    sums = "a = " + " + ".join(rf"\frac{{x_{{{n}}}}}{{2}}" for n in range(20))
    broken = in_a_block(sums, 60)
    assert broken is not None
    assert len(broken) > 5
    assert in_a_block(r"\sum_{i=1}^{n} i", 8) == (" n", " ∑  i", "i=1")
    assert in_a_block(r"\sqrt{\frac{abc}{d}}\,\text{x}", 10) is not None
    assert in_a_block(r"\text{a very long text that cannot be broken}", 20) is None
    assert in_a_block(r"x^{\frac{abcdefgh}{2}}_{abcdefghkl}", 9) is None


# Signs


@pytest.mark.parametrize("character", "abcxyzABCXYZ0123456789+−=()βγ")
def test_forms_of_letters_are_forms_of_these_letters(character: str) -> None:
    for alphabet in ("bold", "script", "fraktur", "double", "sans", "mono"):
        form = in_alphabet(character, alphabet)
        assert form is None or unicodedata.normalize("NFKC", form) == character
    for form in (raised(character), lowered(character)):
        assert form is None or unicodedata.normalize("NFKC", form) == character


def test_commands_with_one_sign_mean_the_same() -> None:
    same = set("∅△□⊥…⋯°·∧≤≥≠→←⟹⟸⟺⇝⊨⊴¬\u2216\u2228") | {"mod"}
    counts = Counter(symbol.text for symbol in COMMANDS.values())
    assert {text for text, count in counts.items() if count > 1} <= same


def test_widths_are_those_of_the_screen() -> None:
    shown = CORPUS.read_text(encoding="utf-8")
    for line in {*shown.splitlines(), *(symbol.text for symbol in COMMANDS.values())}:
        assert cells(line) == cell_len(line), line


# Hostile input

BOMBS = {
    "fractions in fractions": r"\frac{1}{" * 20 + "x" + "}" * 20,
    "a tree of fractions": r"\frac{" * 9 + "x}{y}" + r"}{\frac{a}{b}}" * 8,
    "too deep": "{" * 1990,
    "brackets": "(" * 1990,
    "pairs": "()" * 990,
    "exponents": "x^{x" * 20 + "}" * 20,
    "roots": r"\sqrt{" * 20 + "x" + "}" * 20,
    "a big matrix": r"\begin{matrix}" + ("1&" * 30 + r"\\") * 30 + r"\end{matrix}",
    "rows": r"\\" * 990,
    "cells": "a&" * 990,
    "a long sum": "x+" * 990,
    "a long word": "x" * 1990,
    "over": r"a\over " * 280,
    "not": r"\not" * 490,
    "hats": r"\hat" * 490,
    "sums": r"\sum_{i=1}^{n}" * 140,
    "boxes": r"\boxed{\frac{1}{2}}" * 100,
    "integrals": r"\int_a^{b/c}" * 160,
    "bars": "|" * 1990,
    "dots": "1.1" * 660,
    "too long": "x" * 100_000,
}


@pytest.mark.parametrize("source", BOMBS.values(), ids=BOMBS)
def test_bombs_end_soon(source: str) -> None:
    began = time.process_time()
    flat = in_one_line(source)
    drawn = in_a_block(source, WIDTH_CELLS)
    # A hang, not a speed: each takes well under a tenth of a second.
    assert time.process_time() - began < 2
    assert flat is None or len(flat) < 10 * len(source)
    assert drawn is None or max(map(cell_len, drawn)) <= WIDTH_CELLS


@thorough
@given(
    st.lists(
        st.sampled_from(
            sorted(
                {
                    *COMMANDS,
                    *"{}^_&()[]|'$%",
                    *"x1+=.,",
                    r"\\",
                    r"\frac",
                    r"\sqrt",
                    r"\left",
                    r"\right",
                    r"\begin{cases}",
                    r"\end{cases}",
                    r"\text{",
                    r"\boxed",
                    " ",
                }
            )
        )
    )
)
def test_anything_is_shown_or_not_without_an_error(tokens: list[str]) -> None:
    source = "".join(tokens)
    for shown in (in_one_line(source) or "", *(in_a_block(source, 60) or ())):
        assert printable(shown) == shown
        assert cell_len(shown) <= 60 or shown == in_one_line(source)


@thorough
@given(st.text())
def test_nothing_a_terminal_would_obey_comes_out(text: str) -> None:
    for shown in (in_one_line(text) or "", *(in_a_block(text, 60) or ())):
        assert printable(shown) == shown
        assert "\n" not in shown
