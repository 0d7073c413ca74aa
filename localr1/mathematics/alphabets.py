"""Other forms of letters: raised, lowered, and the alphabets of mathematics.

From the Unicode Character Database: Superscripts and Subscripts, Phonetic Extensions, and
Mathematical Alphanumeric Symbols with the letters that were encoded before them.
"""

from __future__ import annotations

from typing import Final

_RAISED = str.maketrans(
    dict(
        zip(
            "0123456789+−=()abcdefghijklmnoprstuvwxyzABDEGHIJKLMNOPRTUVWβγδθϕχ′″‴",
            "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᴬᴮᴰᴱᴳᴴᴵᴶᴷᴸᴹᴺᴼᴾᴿᵀᵁⱽᵂᵝᵞᵟᶿᵠᵡ′″‴",
            strict=True,
        )
    )
)
_LOWERED = str.maketrans(
    dict(
        zip(
            "0123456789+−=()aehijklmnoprstuvxβγρϕχ",
            "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓᵦᵧᵨᵩᵪ",
            strict=True,
        )
    )
)

RAISED: Final = frozenset(str(form) for form in _RAISED.values()) - frozenset("′″‴")
"""All superscripts."""


def raised(text: str) -> str | None:
    """The text as superscripts; None when a character has none."""
    if text == "∘":
        return "°"
    if text in {"†", "‡"}:
        return text
    return _script(text, _RAISED)


def lowered(text: str) -> str | None:
    """The text as subscripts; None when a character has none."""
    return _script(text, _LOWERED)


def _script(text: str, forms: dict[int, str]) -> str | None:
    known = text and all(ord(character) in forms for character in text)
    return text.translate(forms) if known else None


_FIRST: Final = {
    # capital letters, small letters, digits, capital Greek, small Greek
    "bold": (0x1D400, 0x1D41A, 0x1D7CE, 0x1D6A8, 0x1D6C2),
    "script": (0x1D49C, 0x1D4B6, 0, 0, 0),
    "fraktur": (0x1D504, 0x1D51E, 0, 0, 0),
    "double": (0x1D538, 0x1D552, 0x1D7D8, 0, 0),
    "sans": (0x1D5A0, 0x1D5BA, 0x1D7E2, 0, 0),
    "mono": (0x1D670, 0x1D68A, 0x1D7F6, 0, 0),
}
_BEFORE: Final = {
    "script": dict(zip("BEFHILMRego", "ℬℰℱℋℐℒℳℛℯℊℴ", strict=True)),
    "fraktur": dict(zip("CHIRZ", "ℭℌℑℜℨ", strict=True)),
    "double": dict(zip("CHNPQRZ", "ℂℍℕℙℚℝℤ", strict=True)),
}
_BOLD_GREEK: Final = {"∇": "𝛁", "ϵ": "𝛜", "ϑ": "𝛝", "ϰ": "𝛞", "ϕ": "𝛟", "ϱ": "𝛠", "ϖ": "𝛡"}


def in_alphabet(character: str, alphabet: str) -> str | None:
    """A letter or digit in another alphabet; None when it has no such form.

    Args:
        character: One letter or digit, Latin or Greek.
        alphabet: `bold`, `script`, `fraktur`, `double`, `sans` or `mono`.
    """
    if character in _BEFORE.get(alphabet, {}):
        return _BEFORE[alphabet][character]
    if alphabet == "bold" and character in _BOLD_GREEK:
        return _BOLD_GREEK[character]
    ranges = (("A", "Z"), ("a", "z"), ("0", "9"), ("Α", "Ω"), ("α", "ω"))
    for (low, high), first in zip(ranges, _FIRST[alphabet], strict=True):
        if low <= character <= high and first:
            return chr(first + ord(character) - ord(low))
    return None
