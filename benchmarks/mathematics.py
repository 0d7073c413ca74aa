"""What it costs to draw formulas, with nothing remembered from the last time.

    python benchmarks/mathematics.py

Over the corpus of the tests: a formula in one line, and as a block; and an answer full of formulas
through the Markdown parser, beside the same parser without formulas. Times are of the processor.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import figures
from markdown_it import MarkdownIt

import localr1.mathematics as drawing
from localr1.markdown import MathsParser

_DATA = Path(__file__).parents[1] / "tests" / "data" / "mathematics"
_WIDTH_CELLS = 76
_LINE_MS = figures.Bound("at most", 1.0)


def cost_ms(work: Callable[[], object]) -> float:
    """Milliseconds of the processor, without what was remembered."""
    drawing.forget()
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1000


def measure(runs: int) -> list[figures.Row]:
    """Median and worst formula of each run, and the answer."""
    corpus = (_DATA / "corpus.txt").read_text(encoding="utf-8").splitlines()
    sources = [line[2:] for line in corpus if line.startswith("# ")]
    answer = (_DATA / "answer.md").read_text(encoding="utf-8")
    lines, blocks, ours, plain = [], [], [], []
    for _ in range(runs):
        lines.append(sorted(cost_ms(partial(drawing.in_one_line, s)) for s in sources))
        blocks.append(
            sorted(cost_ms(partial(drawing.in_a_block, s, _WIDTH_CELLS)) for s in sources)
        )
        ours.append(cost_ms(lambda: MathsParser().parse(answer)))
        plain.append(cost_ms(lambda: MarkdownIt("gfm-like").parse(answer)))
    middle = len(sources) // 2
    return [
        figures.Row("in one line, median formula", "ms", tuple(t[middle] for t in lines), _LINE_MS),
        figures.Row("in one line, worst formula", "ms", tuple(t[-1] for t in lines), _LINE_MS),
        figures.Row("as a block, median formula", "ms", tuple(t[middle] for t in blocks)),
        figures.Row("as a block, worst formula", "ms", tuple(t[-1] for t in blocks)),
        figures.Row("an answer, parsed", "ms", tuple(ours)),
        figures.Row("the same ÷ without formulas", "ratio", figures.ratios(ours, plain)),
    ]


def main() -> int:
    """Measure, print the table, and judge it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=9)
    rows = measure(max(1, parser.parse_args().runs))
    print(f"{platform.platform()}, Python {platform.python_version()}\n")
    print(figures.markdown(rows))
    return 0 if figures.all_kept(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
