r"""What stands between `\begin` and `\end`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from localr1.mathematics.tree import Unclear


@dataclass(frozen=True)
class Environment:
    """How an environment is shown."""

    columns: str = "c"
    left: str = ""
    right: str = ""
    equations: bool = False
    argument: str = ""
    """`columns`: its argument says how the columns stand; `ignored`: it says nothing to us."""


_EQUATIONS = Environment(columns="rl", equations=True)
_LINES = Environment(columns="l", equations=True)

ENVIRONMENTS: Final = {
    "matrix": Environment(),
    "smallmatrix": Environment(),
    "pmatrix": Environment(left="(", right=")"),
    "bmatrix": Environment(left="[", right="]"),
    "Bmatrix": Environment(left="{", right="}"),
    "vmatrix": Environment(left="|", right="|"),
    "Vmatrix": Environment(left="‖", right="‖"),
    "array": Environment(argument="columns"),
    "cases": Environment(columns="l", left="{"),
    "dcases": Environment(columns="l", left="{"),
    "rcases": Environment(columns="l", right="}"),
    "substack": Environment(),
    **dict.fromkeys(("aligned", "align", "split", "eqnarray", "flalign"), _EQUATIONS),
    **dict.fromkeys(("equation", "displaymath", "math", "multline", "multlined"), _LINES),
    **dict.fromkeys(("gather", "gathered"), Environment(equations=True)),
    **dict.fromkeys(
        ("alignat", "alignedat"), Environment(columns="rl", equations=True, argument="ignored")
    ),
}
"""By name, without the star."""


def column_sides(argument: str | None, environment: Environment) -> tuple[str, tuple[int, ...]]:
    """What an environment and its argument say: how the columns stand, and before which are lines.

    Raises:
        Unclear: It says more than that.
    """
    if argument is None or environment.argument == "ignored":
        return environment.columns, ()
    columns: list[str] = []
    bars: set[int] = set()
    for character in argument.replace(" ", ""):
        if character in "lcr":
            columns.append(character)
        elif character == "|":
            bars.add(len(columns))
        else:
            raise Unclear(argument)
    return "".join(columns) or "c", tuple(sorted(bars))
