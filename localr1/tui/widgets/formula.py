"""Formulas in an answer: drawn in blocks of their own, and with a colour within a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from markdown_it.token import Token
from textual.content import Content, Span
from textual.css.styles import RulesMap
from textual.geometry import Offset
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style
from textual.visual import RenderOptions, Visual
from textual.widgets import Markdown
from textual.widgets.markdown import MarkdownBlock

from localr1.markdown import INLINE, SOURCE
from localr1.mathematics import in_a_block
from localr1.tui.widgets.laid_out import LaidOutOnce


class Formula(LaidOutOnce, MarkdownBlock):
    """A formula on its own: drawn where it can be, else as its source.

    Args:
        markdown: The document.
        token: The formula.
        as_source: Whether the user wants the source.
    """

    DEFAULT_CSS = """
    Formula { margin: 0 0 1 0; padding: 0 0 0 2; }
    """

    def __init__(self, markdown: Markdown, token: Token, *, as_source: bool) -> None:
        super().__init__(markdown, token)
        self.formula = token.content
        """LaTeX, without the signs around it."""
        self.picture = _Picture(self.formula, drawn=not as_source and token.meta["closed"])
        self.update(self.picture, layout=False)

    @property
    def look(self) -> object:
        """What it shows."""
        return self.picture

    def get_selection(self, _selection: Selection) -> tuple[str, str] | None:
        """The source: a picture is of no use to anyone who pastes it."""
        opener = self._token.markup
        return f"{opener}{self.formula}{_CLOSERS.get(opener, '')}", "\n"

    async def _update_from_block(self, block: MarkdownBlock) -> None:
        if not isinstance(block, Formula):
            await super()._update_from_block(block)
        elif block.picture != self.picture:
            self._copy_context(block)
            self.formula, self.picture = block.formula, block.picture
            self.update(self.picture)


_CLOSERS: Final = {"\\[": "\\]", "$$": "$$"}


class _Picture(Visual):
    """What a formula looks like at a width.

    Args:
        formula: LaTeX.
        drawn: Whether it is drawn at all.
    """

    def __init__(self, formula: str, *, drawn: bool) -> None:
        self._formula = formula
        self._drawn = drawn

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Picture) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[str, bool]:
        return self._formula, self._drawn

    def _content(self, width: int) -> Content:
        lines = in_a_block(self._formula, width) if self._drawn else None
        if lines is None:
            return Content.styled(self._formula, ".code_inline")
        return Content("\n".join(lines))

    def render_strips(
        self, width: int, height: int | None, style: Style, options: RenderOptions
    ) -> list[Strip]:
        return self._content(width).render_strips(width, height, style, options)

    def get_optimal_width(self, rules: RulesMap, container_width: int) -> int:
        return self._content(container_width).get_optimal_width(rules, container_width)

    def get_height(self, rules: RulesMap, width: int) -> int:
        return self._content(width).get_height(rules, width)


class WithFormulas(LaidOutOnce, MarkdownBlock):
    """A block of text whose formulas do not look like code."""

    @property
    def look(self) -> tuple[str, Sequence[Span]]:
        """What it shows."""
        return self._content.plain, self._content.spans

    def set_content(self, content: Content) -> None:
        """Show a text; only what is on screen already asks for another layout."""
        self._content = content
        self.update(self.picture_of(content), layout=self.is_attached)

    def picture_of(self, content: Content) -> Visual:
        """What is shown for a text."""
        return content

    def _token_to_content(self, token: Token) -> Content:
        content = super()._token_to_content(token)
        drawn = [
            bool(child.meta.get(INLINE))
            for child in token.children or ()
            if child.type == "code_inline"
        ]
        if not any(drawn):
            return content
        follows = iter(drawn)
        spans = [
            Span(span.start, span.end, ".formula")
            if span.style == ".code_inline" and next(follows)
            else span
            for span in content.spans
        ]
        return Content(content.plain, spans)

    def _copy_context(self, block: MarkdownBlock) -> None:
        super()._copy_context(block)
        self._inline_token = block._inline_token  # noqa: SLF001 - of the same kind

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """What is selected."""
        return self.selected(selection), "\n"

    def selected(self, selection: Selection) -> str:
        """The text, with the source of each formula that the selection touches."""
        tokens = (self._inline_token.children if self._inline_token else None) or ()
        codes = [token for token in tokens if token.type == "code_inline"]
        spans = [s for s in self._content.spans if s.style in {".code_inline", ".formula"}]
        formulas = [
            (span.start, span.end, code.meta[SOURCE])
            for span, code in zip(spans, codes, strict=False)
            if SOURCE in code.meta
        ]
        text = self._content.plain
        begin, end = _place(text, selection.start, 0), _place(text, selection.end, len(text))
        return with_sources(text, begin, end, formulas)


def with_sources(text: str, begin: int, end: int, formulas: Sequence[tuple[int, int, str]]) -> str:
    """A part of a text, with formulas as their source where the part touches them.

    Args:
        text: As it is shown.
        begin: Where the part begins.
        end: Where it ends.
        formulas: Where each begins and ends, in order, and its source.
    """
    parts, at = [], begin
    for start, stop, source in formulas:
        if begin < end and start < end and stop > begin:
            parts += [text[at : max(at, start)], source]
            at = max(at, stop)
    return "".join([*parts, text[at : max(at, end)]])


def _place(text: str, offset: Offset | None, otherwise: int) -> int:
    """Where a place of the selection, as line and character, is in the text."""
    if offset is None:
        return otherwise
    lines = text.split("\n")
    before = sum(len(line) + 1 for line in lines[: offset.y])
    return min(before + offset.x, len(text))


_TEXT_BLOCKS: Final = ("paragraph_open", "th_open", "td_open", "h1", "h2", "h3", "h4", "h5", "h6")
BLOCKS: Final[dict[str, type[MarkdownBlock]]] = {
    # Of the same names, so that all styles go on to apply.
    name: type(
        block.__name__,
        (WithFormulas if name in _TEXT_BLOCKS else LaidOutOnce, block),
        {},
    )
    for name, block in Markdown.BLOCKS.items()
}
"""The blocks of a Markdown document that has formulas."""
