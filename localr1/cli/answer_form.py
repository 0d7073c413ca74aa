"""The form that `ask --schema` wants an answer in."""

from __future__ import annotations

import json
from dataclasses import dataclass

from localr1.chat.attachment import read as read_text
from localr1.chat.json_grammar import grammar_of
from localr1.config import expanded
from localr1.errors import LocalR1Error, UsageError


@dataclass(frozen=True)
class Form:
    """A JSON schema, and what the engine needs of it."""

    schema: str
    grammar: str

    def asked_for(self, question: str) -> str:
        """The question with the schema after it: a model that knows the form thinks about it."""
        return f"{question}\n\nAnswer with JSON that satisfies this JSON schema:\n{self.schema}"


def read(name: str) -> Form:
    """Read a schema.

    Raises:
        FileError: The file cannot be read.
        UsageError: It is no JSON, or asks what a grammar cannot promise.
    """
    path = expanded(name)
    text = read_text(path).content
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            "The schema cannot be used.", f"{path} is not JSON: {error}.", "Correct the file."
        ) from error
    return Form(json.dumps(schema, ensure_ascii=False), grammar_of(schema))


def cut_short() -> LocalR1Error:
    """What an answer is that ended before its JSON did."""
    return LocalR1Error(
        "The answer ended before its JSON was complete.",
        "",
        "Allow more with --max-tokens or --context, or limit the thinking: --thinking 2000.",
    )
