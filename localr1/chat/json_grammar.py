"""A JSON schema as a grammar that an answer is held to: every text of it satisfies the schema.

The notation is llama.cpp's (GBNF, grammars/README.md there). What no grammar can promise is
refused by name, rather than left out. Where a schema allows more than is needed, the grammar may
allow less: properties come in the schema's order, and none that it does not name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from localr1.chat import number_grammar as numbers
from localr1.chat.json_exclusive import Exclusive
from localr1.chat.json_schema import (
    NO_SCHEMA,
    REMARKS,
    TYPES,
    Schema,
    implied,
    is_kind,
    merged,
    refused,
)

_MOST_REPEATS: Final = 2000
"""llama.cpp refuses larger numbers of repetitions."""
_DEEPEST: Final = 60
_NOT_KEPT: Final = (
    *("not", "if", "then", "else", "patternProperties", "propertyNames", "minProperties"),
    *("maxProperties", "dependentRequired", "dependentSchemas", "dependencies", "contains"),
    *("minContains", "maxContains", "pattern", "unevaluatedItems", "unevaluatedProperties"),
    *("$dynamicRef", "$recursiveRef"),
)
_HEX: Final = "[0-9a-fA-F]"
_DATE: Final = '[0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | [12] [0-9] | "3" [01])'
_TIME: Final = (
    '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,9})?'
    ' ("Z" | [+-] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9])'
)
_FORMATS: Final = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f'{_DATE} "T" {_TIME}',
    "uuid": f'{_HEX}{{8}} "-" {_HEX}{{4}} "-" {_HEX}{{4}} "-" {_HEX}{{4}} "-" {_HEX}{{12}}',
}
_WHITE: Final = "ws"
_ANY: Final = {
    "value": "object | array | string | number | boolean | null",
    "object": '"{" ws (string ws ":" ws value (ws "," ws string ws ":" ws value)*)? ws "}"',
    "array": '"[" ws (value (ws "," ws value)*)? ws "]"',
    "string": r'"\"" char* "\""',
    # No control characters, and no half of a surrogate pair.
    "char": r'[^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | "u" (' + f"[0-9a-ceA-CEfF] {_HEX}{{3}}"
    rf" | [dD] [0-7] {_HEX}{{2}}))",
    "number": f'"-"? {numbers.WHOLE} {numbers.FRACTION}? {numbers.EXPONENT}?',
    "integer": f'"-"? {numbers.WHOLE}',
    "boolean": '"true" | "false"',
    "null": '"null"',
    # Bounded: a model may lose itself in blanks.
    _WHITE: r'(" " | "\n" [ \t]{0,20})?',
}


def grammar_of(schema: object) -> str:
    """The grammar of a schema's values, its rule `root` first.

    Args:
        schema: As read from JSON (draft 2020-12, and what older drafts have in common with it).

    Raises:
        UsageError: It is no schema, or asks what a grammar cannot promise; names the place.
    """
    writer = _Writer(schema)
    root = writer.value(schema, "#")
    rules = {"root": f"[ \\n]{{0,8}} {root}", **writer.rules, **_ANY}
    return "".join(f"{name} ::= {body}\n" for name, body in rules.items())


class _Writer:
    """Writes the rules of one schema; each method returns what stands for a value in a rule."""

    def __init__(self, schema: object) -> None:
        self._schema = schema
        self.rules: dict[str, str] = {}
        self._references: dict[str, str] = {}
        self._depth = 0

    def value(self, schema: object, place: str) -> str:
        if schema is True:
            return "value"
        if not isinstance(schema, Mapping):
            raise refused(place, "nothing satisfies `false`" if schema is False else NO_SCHEMA)
        self._depth += 1
        if self._depth > _DEEPEST:
            raise refused(place, "it is nested too deeply, or refers to itself in a circle")
        try:
            return self._value(schema, place)
        finally:
            self._depth -= 1

    def _value(self, schema: Schema, place: str) -> str:
        for name in _NOT_KEPT:
            if name in schema:
                raise refused(place, f"no grammar can promise `{name}`")
        said = {name: value for name, value in schema.items() if name not in REMARKS}
        if "$ref" in said:
            return self._reference(said, place)
        if "allOf" in said:
            return self.value(merged(said, place), place)
        for name in ("anyOf", "oneOf"):
            if name in said:
                return self._one_of(said, name, place)
        if "const" in said or "enum" in said:
            return self._listed(said, place)
        kinds = said.get("type", implied(said))
        if kinds is None:
            return "value"
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if not isinstance(kinds, list) or not kinds or not set(map(str, kinds)) <= set(TYPES):
            raise refused(place, f"`type` is one of {', '.join(TYPES)}, or a list of them")
        return self._either([self._typed(said, kind, place) for kind in kinds])

    def _typed(self, schema: Schema, kind: str, place: str) -> str:
        match kind:
            case "object":
                return self._object(schema, place)
            case "array":
                return self._array(schema, place)
            case "string":
                return self._string(schema, place)
            case "number" | "integer":
                try:
                    return numbers.between(schema, whole=kind == "integer") or kind
                except ValueError as error:
                    raise refused(place, str(error)) from error
            case _:
                return kind

    def _reference(self, schema: Schema, place: str) -> str:
        target = schema["$ref"]
        others = {name: value for name, value in schema.items() if name != "$ref"}
        found = self._find(target, place)
        if others:
            return self.value(merged({**others, "allOf": [found]}, place), place)
        if target not in self._references:
            # Named before it is written: it may refer to itself.
            self._references[target] = f"ref{len(self._references)}"
            self.rules[self._references[target]] = ""
            body = self.value(found, str(target))
            if body in self._references.values() and not self.rules[body]:
                raise refused(place, "it refers to itself in a circle")
            self.rules[self._references[target]] = body
        return self._references[target]

    def _find(self, target: object, place: str) -> object:
        if not isinstance(target, str) or not (target == "#" or target.startswith("#/")):
            raise refused(place, "`$ref` must be #/… in the same file; nothing is fetched")
        found = self._schema
        for part in target.split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
                found = found[int(name)]
            elif isinstance(found, Mapping) and name in found:
                found = found[name]
            else:
                raise refused(place, f"there is no {target}")
        return found

    def _one_of(self, schema: Schema, name: str, place: str) -> str:
        choices = schema[name]
        others = {key: value for key, value in schema.items() if key != name}
        if not isinstance(choices, list) or not choices:
            raise refused(place, f"`{name}` is a list of schemas")
        if others:
            choices = [merged({**others, "allOf": [choice]}, place) for choice in choices]
        found = [self.value(choice, f"{place}/{name}/{n}") for n, choice in enumerate(choices)]
        if name == "oneOf":
            both = Exclusive(lambda target: self._find(target, place)).apart(choices)
            if both is not None:
                raise refused(
                    place,
                    f"one value may satisfy the parts {both[0]} and {both[1]} of `oneOf`, which no "
                    "grammar can prevent; give them a property with different `const`, or write "
                    "`anyOf`",
                )
        return self._either(found)

    def _listed(self, schema: Schema, place: str) -> str:
        values = schema["enum"] if "enum" in schema else [schema["const"]]
        if "const" in schema and schema["const"] not in values:
            values = []
        kinds = schema.get("type", list(TYPES))
        kinds = [kinds] if isinstance(kinds, str) else kinds
        fitting = [value for value in values if any(is_kind(value, kind) for kind in kinds)]
        if not fitting:
            raise refused(place, "no value satisfies it")
        if set(schema) - {"enum", "const", "type"}:
            raise refused(place, "`enum` and `const` stand alone, or beside `type`")
        return self._either([_literal(value) for value in fitting])

    def _string(self, schema: Schema, place: str) -> str:
        form = _FORMATS.get(str(schema.get("format")))
        least, most = _bounds(schema, "minLength", "maxLength", place)
        if form is not None:
            if (least, most) != (0, None):
                raise refused(place, "a length and a `format` are too much for a grammar")
            return rf'("\"" {form} "\"")'
        if (least, most) == (0, None):
            return "string"
        return rf'("\"" char{_times(least, most)} "\"")'

    def _array(self, schema: Schema, place: str) -> str:
        if schema.get("uniqueItems"):
            raise refused(place, "no grammar can promise `uniqueItems`")
        least, most = _bounds(schema, "minItems", "maxItems", place)
        first, rest = schema.get("prefixItems", []), schema.get("items", True)
        if isinstance(rest, list):  # as older drafts write it
            first, rest = rest, schema.get("additionalItems", True)
        if not isinstance(first, list):
            raise refused(place, "`prefixItems` is a list of schemas")
        first = first[:most]
        items = [self.value(item, f"{place}/prefixItems/{n}") for n, item in enumerate(first)]
        wanted = max(0, least - len(items))
        if rest is False or (first and "items" not in schema and not wanted):
            if wanted:
                raise refused(place, "no array is that long")
            return self._row(items, "")
        room = None if most is None else most - len(items)
        if room == 0:
            return self._row(items, "")
        item = self._rule(self.value(rest, f"{place}/items"))
        more = f'(ws "," ws {item})'
        if items:
            return self._row(items, f" {more}{_times(wanted, room)}")
        less = None if room is None else room - 1
        some = f"{item} {more}{_times(max(0, wanted - 1), less)}"
        return self._row([f"({some})" if wanted else f"({some})?"], "")

    def _row(self, items: list[str], rest: str) -> str:
        inner = ' ws "," ws '.join(items) + rest
        return self._rule(f'"[" ws {inner} ws "]"' if inner else '"[" ws "]"')

    def _object(self, schema: Schema, place: str) -> str:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        others = schema.get("additionalProperties", True)
        if not isinstance(properties, Mapping) or not isinstance(required, list):
            raise refused(place, "`properties` is an object, and `required` a list")
        unnamed = [name for name in required if name not in properties]
        if unnamed and others is False:
            raise refused(place, f"`{unnamed[0]}` is required, and not allowed")
        wanted = {**properties, **dict.fromkeys(map(str, unnamed), others)}
        if not wanted:
            if others is False:
                return self._rule('"{" ws "}"')
            value = self._rule(self.value(others, f"{place}/additionalProperties"))
            pair = f'string ws ":" ws {value}'
            return self._rule(f'"{{" ws ({pair} (ws "," ws {pair})*)? ws "}}"')
        pairs = [
            (self._pair(name, inner, place), name in required) for name, inner in wanted.items()
        ]
        return self._rule(f'"{{" ws {self._pairs(pairs)} ws "}}"')

    def _pair(self, name: str, schema: object, place: str) -> str:
        value = self.value(schema, f"{place}/properties/{name}")
        return self._rule(f'{_literal(name)} ws ":" ws {value}')

    def _pairs(self, pairs: list[tuple[str, bool]]) -> str:
        """Properties in their order, those that are not required left out or not.

        A comma stands before each but the first that comes: so there is one alternative for
        each that may be the first, and what follows it is the same for all.
        """
        after = ""
        follows: list[str] = []
        for pair, needed in reversed(pairs):
            follows.insert(0, after)
            here = f'ws "," ws {pair}'
            after = self._rule(f"{here if needed else f'({here})?'} {after}".rstrip())
        firsts = []
        for (pair, needed), rest in zip(pairs, follows, strict=True):
            firsts.append(f"{pair} {rest}".rstrip())
            if needed:
                return f"({' | '.join(firsts)})"
        return f"({' | '.join(firsts)})?"

    def _either(self, choices: list[str]) -> str:
        different = list(dict.fromkeys(choices))
        return different[0] if len(different) == 1 else f"({' | '.join(different)})"

    def _rule(self, body: str) -> str:
        """A rule of its own, or the one that says the same."""
        if body.isalnum():
            return body
        known = next((name for name, other in self.rules.items() if other == body), None)
        name = known or f"rule{len(self.rules)}"
        self.rules[name] = body
        return name


def _bounds(schema: Schema, least: str, most: str, place: str) -> tuple[int, int | None]:
    low, high = schema.get(least, 0), schema.get(most)
    sound = type(low) is int and 0 <= low <= _MOST_REPEATS
    if not sound or not (high is None or (type(high) is int and high >= low)):
        raise refused(
            place, f"`{least}` goes from 0 to {_MOST_REPEATS}, and `{most}` from there on"
        )
    return low, None if high is None else min(high, _MOST_REPEATS)


def _times(least: int, most: int | None) -> str:
    if (least, most) == (0, None):
        return "*"
    return f"{{{least},{'' if most is None else most}}}"


def _literal(value: object) -> str:
    """A JSON value as the grammar writes exactly this text."""
    text = json.dumps(value, ensure_ascii=False)
    if any("\ud800" <= letter <= "\udfff" for letter in text):  # no UTF-8 has them
        text = json.dumps(value)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
