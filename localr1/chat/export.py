"""Conversations as files for other programs and people: Markdown, text, HTML, JSON.

Pure: text from values. The JSON holds every branch and comes back by `foreign`; the others show
the branch that is shown in the app.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from markdown_it.renderer import RendererProtocol
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

from localr1.chat.types import Conversation, ConversationSummary, Message
from localr1.errors import UsageError
from localr1.markdown import BLOCK, MathsParser
from localr1.mathematics import in_a_block
from localr1.printable import one_line, printable

FORMAT: Final = "localr1-conversations"
SCHEMA: Final = 1
_FORMULA_CELLS: Final = 96
_ENDINGS: Final = {
    "length": "The reply was cut: it reached its longest allowed length.",
    "cancelled": "The reply was stopped.",
    "failed": "The reply failed.",
    "": "The reply was not finished.",
}

_FORMS: Final = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".txt": "text",
    ".json": "json",
}

Kept = tuple[ConversationSummary, Conversation]
"""What the list knows of a conversation, and what it holds."""


def form_of(path: Path) -> str:
    """What to write to a file, by its name: `markdown`, `html`, `text` or `json`.

    Raises:
        UsageError: Its name does not tell.
    """
    form = _FORMS.get(path.suffix.lower())
    if form is None:
        raise UsageError(
            f"It is not clear what to write to {path}.",
            "Its name does not end in .md, .html, .txt or .json.",
            "Choose one of these.",
        )
    return form


def document(kept: Iterable[Kept], *, thinking: bool = True) -> dict[str, Any]:
    """Conversations with all branches as one JSON object, which `history import` reads."""
    found = []
    for summary, whole in kept:
        messages = whole.tree or whole.messages
        found.append(
            {
                "title": whole.title,
                "model": whole.model_id,
                "pinned": summary.pinned,
                "archived": summary.archived,
                "tags": list(summary.tags),
                "manner": asdict(whole.manner),
                "shown": whole.messages[-1].id if whole.messages else None,
                "messages": [_message(each, thinking=thinking) for each in messages],
            }
        )
    return {"format": FORMAT, "schema": SCHEMA, "conversations": found}


def as_form(form: str, kept: Kept, *, thinking: bool = True) -> str:
    """One conversation in a form that `form_of` names."""
    if form == "json":
        return json.dumps(document([kept], thinking=thinking), ensure_ascii=False, indent=2) + "\n"
    write = {"markdown": as_markdown, "html": as_html, "text": as_text}[form]
    return write(kept[1], thinking=thinking)


def as_markdown(conversation: Conversation, *, thinking: bool = True) -> str:
    """One conversation as Markdown; thinking is quoted."""
    parts = [f"# {_title(conversation)}", f"*{_origin(conversation)}*"]
    for message in conversation.messages:
        if message.role == "user":
            parts += ["## You", printable(message.text)]
            continue
        parts.append("## R1")
        if thinking and message.thinking:
            quoted = "\n".join(
                f"> {line}".rstrip() for line in printable(message.thinking).strip().splitlines()
            )
            parts.append(f"> **Thinking**\n>\n{quoted}")
        parts += [printable(message.text)] if message.text else []
        parts += [f"*{note}*"] if (note := _ending(message)) else []
    return "\n\n".join(parts) + "\n"


def as_text(conversation: Conversation, *, thinking: bool = True) -> str:
    """One conversation as plain text."""
    parts = [_title(conversation), _origin(conversation)]
    for message in conversation.messages:
        speaker = "You" if message.role == "user" else "R1"
        if thinking and message.thinking:
            parts.append(f"{speaker}, thinking:\n{printable(message.thinking).strip()}")
        text = "\n".join(filter(None, (printable(message.text), _ending(message))))
        parts.append(f"{speaker}: {text}")
    return "\n\n".join(parts) + "\n"


def as_html(conversation: Conversation, *, thinking: bool = True) -> str:
    """One conversation as a page that loads nothing and runs nothing; formulas are drawn."""
    parts = []
    for message in conversation.messages:
        if message.role == "user":
            text = html.escape(printable(message.text))
            parts.append(f'<section class="you"><h2>You</h2><pre>{text}</pre></section>')
            continue
        inner = ["<h2>R1</h2>"]
        if thinking and message.thinking:
            thought = html.escape(printable(message.thinking).strip())
            inner.append(f"<details><summary>Thinking</summary><pre>{thought}</pre></details>")
        inner.append(_rendered(message.text))
        if note := _ending(message):
            inner.append(f'<p class="note">{html.escape(note)}</p>')
        parts.append(f'<section class="reply">{"".join(inner)}</section>')
    return _PAGE.format(
        title=html.escape(_title(conversation)),
        origin=html.escape(_origin(conversation)),
        body="\n".join(parts),
    )


def _message(message: Message, *, thinking: bool) -> dict[str, object]:
    return {
        "id": message.id,
        "parent": message.parent_id,
        "role": message.role,
        "text": message.text,
        "thinking": message.thinking if thinking else "",
        "created_at": message.created_at.isoformat(),
        "rating": message.rating,
        "stats": asdict(message.stats) if message.stats else None,
    }


def _title(conversation: Conversation) -> str:
    return one_line(conversation.title, 200) or "Untitled"


def _origin(conversation: Conversation) -> str:
    began = conversation.messages[0].created_at if conversation.messages else None
    day = f", {began:%Y-%m-%d}" if began else ""
    held = f"; {one_line(words, 500)}" if (words := conversation.manner.words) else ""
    return f"{one_line(conversation.model_id, 100)}{day}, with localr1{held}"


def _ending(message: Message) -> str:
    if message.role == "user":
        return ""
    reason = message.stats.finish_reason if message.stats else ""
    return _ENDINGS.get(reason, "")


def _rendered(text: str) -> str:
    parser = MathsParser()
    tokens = parser.parse(printable(text))
    _without_pictures(tokens)
    parser.add_render_rule(BLOCK, _formula)
    return str(parser.renderer.render(tokens, parser.options, {}))


def _without_pictures(tokens: Sequence[Token]) -> None:
    """A picture would be fetched when the page is opened: its address is shown instead."""
    for token in tokens:
        if token.type == "image":
            address = str(token.attrs.get("src", ""))
            token.type, token.content = "text", f"{token.content} ({address})"
            token.children = None
        _without_pictures(token.children or ())


def _formula(
    renderer: RendererProtocol,
    tokens: Sequence[Token],
    at: int,
    options: OptionsDict,
    env: MutableMapping[str, Any],
) -> str:
    del renderer, options, env
    drawn = in_a_block(tokens[at].content, _FORMULA_CELLS) if tokens[at].meta["closed"] else None
    text = html.escape("\n".join(drawn) if drawn is not None else tokens[at].content)
    source = html.escape(tokens[at].content, quote=True)
    return f'<pre class="formula" title="{source}">{text}</pre>\n'


_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ max-width: 46rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.55 system-ui, sans-serif; }}
h1 {{ font-size: 1.4rem; margin-bottom: 0; }}
h2 {{ font-size: .85rem; letter-spacing: .04em; opacity: .65; margin: 2rem 0 .3rem; }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; font: inherit; }}
pre code, code, details pre {{ font-family: ui-monospace, monospace; font-size: .9em; }}
pre code {{ display: block; white-space: pre; overflow-x: auto; padding: .7rem; background: #8882; }}
pre.formula {{ white-space: pre; overflow-x: auto; margin: .8rem 1.5rem;
  font-family: ui-monospace, monospace; line-height: 1.2; }}
details {{ border-left: 3px solid #8886; padding-left: .8rem; margin: .4rem 0 1rem; opacity: .8; }}
table {{ border-collapse: collapse; }} th, td {{ border: 1px solid #8886; padding: .2rem .6rem; }}
.note, .origin {{ opacity: .65; font-style: italic; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p class="origin">{origin}</p>
{body}
</body>
</html>
"""
