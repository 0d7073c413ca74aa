"""The form that `ask --schema` wants an answer in."""

from __future__ import annotations

import json
from dataclasses import dataclass

from localr1.chat.attachment import read as read_text
from localr1.chat.json_grammar import grammar_of
from localr1.config import expanded
from localr1.errors import EndpointError, LocalR1Error, UsageError
from localr1.remote.address import Address
from localr1.remote.refusal import SCHEMA_TODO


@dataclass(frozen=True)
class Form:
    """A JSON schema, and what the engine needs of it."""

    schema: str
    grammar: str

    def asked_for(self, question: str) -> str:
        """The question with the schema after it: a model that knows the form thinks about it."""
        return f"{question}\n\nAnswer with JSON that satisfies this JSON schema:\n{self.schema}"

    def check(self, answer: str, place: Address) -> None:
        """See that a server held its answer to the schema: some take one and do not care.

        Raises:
            EndpointError: It did not. Lengths, numbers' bounds and patterns are not looked at.
        """
        try:
            why = _misfit(json.loads(answer), json.loads(self.schema), "the answer")
        except (ValueError, RecursionError):
            why = "it is not JSON"
        if why:
            raise EndpointError(
                "The answer is not as the schema wants it.",
                f"{place.host} took the schema, and did not hold to it: {why}.",
                SCHEMA_TODO,
            )


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


def _misfit(value: object, schema: object, where: str) -> str:
    """Why a value is not as a schema wants it; empty where it is."""
    if not isinstance(schema, dict):
        return "" if schema is not False else f"{where} should not be there"
    either = schema.get("anyOf") or schema.get("oneOf")
    if either and all(_misfit(value, one, where) for one in either):
        return f"{where} is none of what it may be"
    allowed = schema.get("enum", [schema["const"]] if "const" in schema else [value])
    if value not in allowed:
        return f"{where} is {json.dumps(value)[:80]}"
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        return f"{where} is no {' or '.join(kinds)}"
    inner = []
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        missing = [name for name in schema.get("required", []) if name not in value]
        if missing:
            return f"{where} lacks {missing[0]}"
        others = schema.get("additionalProperties", True)
        inner = [(name, one, properties.get(name, others)) for name, one in value.items()]
    elif isinstance(value, list) and "prefixItems" not in schema:
        items = schema.get("items", True)
        inner = [(f"entry {number}", one, items) for number, one in enumerate(value, 1)]
    return next(filter(None, (_misfit(one, form, name) for name, one, form in inner)), "")


def _is(value: object, kind: str) -> bool:
    if isinstance(value, bool) or value is None:
        return kind == ("boolean" if value is not None else "null")
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    kinds: dict[str, type | tuple[type, ...]] = {
        "object": dict,
        "array": list,
        "string": str,
        "number": (int, float),
    }
    return isinstance(value, kinds.get(kind, ()))


def cut_short() -> LocalR1Error:
    """What an answer is that ended before its JSON did."""
    return LocalR1Error(
        "The answer ended before its JSON was complete.",
        "",
        "Allow more with --max-tokens or --context, or limit the thinking: --thinking 2000.",
    )
