"""Going through the tokens of a formula."""

from __future__ import annotations

import re
from typing import Final

from localr1.mathematics.commands import LENGTH, TEXT_SIGNS
from localr1.mathematics.tokens import Token, tokens
from localr1.mathematics.tree import Unclear

MOST_DEPTH: Final = 24
"""Groups within groups."""
_END: Final = Token("", 0, False)
_WORD: Final = re.compile(r"\\[A-Za-z]+\s?|\\.|.", re.DOTALL)


class Reader:
    """The tokens of a source, and where reading stands.

    Args:
        source: LaTeX.

    Raises:
        Unclear: As `tokens`.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._tokens = tokens(source)
        self._at = 0
        self._depth = 0

    @property
    def next(self) -> Token:
        """The token that comes; empty at the end."""
        return self._tokens[self._at] if self._at < len(self._tokens) else _END

    def take(self) -> Token:
        """Go over the next token.

        Raises:
            Unclear: There is none.
        """
        token = self.next
        if not token.text:
            raise Unclear("ends too early")
        self._at += 1
        return token

    def back(self, token: Token) -> None:
        """Put this in the place of the last token, to be read again."""
        self._at -= 1
        self._tokens[self._at] = token

    def skip(self, text: str) -> bool:
        """Go over the next token if it is this one."""
        found = self.next.text == text
        self._at += found
        return found

    def expect(self, text: str) -> None:
        """Go over this token.

        Raises:
            Unclear: It is another one.
        """
        if not self.skip(text):
            raise Unclear(f"no {text}")

    def deeper(self, levels: int = 1) -> None:
        """Go into groups; out of them, if negative.

        Raises:
            Unclear: They are too deep.
        """
        self._depth += levels
        if self._depth > MOST_DEPTH:
            raise Unclear("too deep")

    def number(self, first: str) -> str:
        """A number from its first digit on: `3.14`, `1,000`."""
        digits = [first]
        while not self.next.spaced and (text := self.next.text):
            if is_digit(text):
                count = 1
            elif text in {".", ","}:
                count = self._more_digits(text)
            else:
                count = 0
            if not count:
                break
            digits += [self.take().text for _ in range(count)]
        return "".join(digits)

    def _more_digits(self, mark: str) -> int:
        """How many tokens belong to the number from this mark on: `.5`, or `,000` in 1,000."""
        count = 1
        for token in self._tokens[self._at + 1 :]:
            if token.spaced or not is_digit(token.text):
                break
            count += 1
        return count if (mark == "." and count > 1) or count == 4 else 0

    def words(self) -> str:
        """An argument word for word, with the few commands that words have.

        Raises:
            Unclear: There is none, or there are other commands in it.
        """
        start, depth = self.next.start + 1, 1
        self.expect("{")
        token = self.next
        while depth:
            token = self.take()
            depth += {"{": 1, "}": -1}.get(token.text, 0)
        shown: list[str] = []
        for piece in _WORD.findall(self._source[start : token.start]):
            if piece.strip() in TEXT_SIGNS:
                shown.append(TEXT_SIGNS[piece.strip()])
            elif piece[0] in "\\{}$^":
                raise Unclear(piece)
            else:
                shown.append(piece)
        return re.sub(r"\s+", " ", "".join(shown))

    def row_end(self) -> None:
        """Go over the end of a row, and over the space that is asked for after it."""
        end = self.take()
        self.skip("*")
        length = LENGTH.match(self._source, end.start + 2)
        while length and self.next.text and self.next.start < length.end():
            self._at += 1


def is_digit(text: str) -> bool:
    """Whether a token is one digit."""
    return len(text) == 1 and "0" <= text <= "9"
