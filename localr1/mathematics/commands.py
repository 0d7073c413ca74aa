"""Commands that say how something is written, rather than what."""

from __future__ import annotations

import re
from typing import Final


def _named(names: str) -> frozenset[str]:
    return frozenset(f"\\{name}" for name in names.split())


IGNORED: Final = _named(
    "displaystyle textstyle scriptstyle scriptscriptstyle nonumber notag limits nolimits "
    "allowbreak strut mathstrut relax noindent centering"
)
"""They show nothing."""

SIZES: Final = _named(" ".join(f"{s} {s}l {s}r {s}m" for s in ("big", "Big", "bigg", "Bigg")))
"""The size of the bracket that follows; here brackets grow by themselves."""

FRACTIONS: Final = _named("frac dfrac tfrac cfrac sfrac nicefrac")
BINOMIALS: Final = _named("binom dbinom tbinom")
INFIX: Final = _named("over choose")
"""Between the two halves of their group."""

ALPHABETS: Final = {
    **dict.fromkeys(_named("mathbf boldsymbol bm pmb symbf"), "bold"),
    **dict.fromkeys(_named("mathcal mathscr"), "script"),
    **dict.fromkeys(_named("mathbb Bbb"), "double"),
    "\\mathfrak": "fraktur",
    "\\mathsf": "sans",
    "\\mathtt": "mono",
}
UPRIGHT: Final = _named("mathrm mathit mathnormal mathop mathord mathbin mathrel")
"""Letters as they are."""

TEXTS: Final = _named(
    "text textbf textit textrm textsf texttt textnormal textup textsc mbox hbox emph"
)
"""Words; bold or slanted ones are the same words."""

TEXT_SIGNS: Final = {
    **{f"\\{sign}": sign for sign in "%$&#_{} "},
    "~": " ",
    "\\,": " ",
    "\\quad": "   ",
    "\\ldots": "…",
    "\\dots": "…",
}
"""What may stand in words."""

LENGTH: Final = re.compile(r"\s*\[\s*-?[\d.]+\s*(?:pt|em|ex|mm|cm|in)\s*\]", re.ASCII)
"""The space after a row."""
