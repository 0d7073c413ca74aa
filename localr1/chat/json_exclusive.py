"""Whether the parts of a `oneOf` exclude each other, so far as their schemas show it.

A grammar writes a value by one part, and cannot look whether it satisfies another part too. So a
`oneOf` is taken only where no value that is written by one part can satisfy another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from localr1.chat.json_schema import REMARKS, TYPES, Schema, implied, is_kind, merged

_MOST_STEPS: Final = 3000
_DEEPEST: Final = 12


class Exclusive:
    """Compares schemas; what is too long or too deep to be sure of counts as not exclusive.

    Args:
        look: Finds what a `$ref` means.
    """

    def __init__(self, look: Callable[[object], object]) -> None:
        self._look = look
        self._steps = 0

    def apart(self, parts: Sequence[object]) -> tuple[int, int] | None:
        """The first two parts that one value may satisfy both; None where there are none."""
        for later in range(len(parts)):
            for earlier in range(later):
                self._steps = 0
                one, other = parts[earlier], parts[later]
                if not (self._never(one, other, 0) and self._never(other, one, 0)):
                    return earlier, later
        return None

    def _never(self, written: object, schema: object, depth: int) -> bool:
        """Whether nothing that is written by one schema satisfies the other."""
        self._steps += 1
        if depth > _DEEPEST or self._steps > _MOST_STEPS:
            return False
        mine, other = self._plain(written), self._plain(schema)
        for name in ("anyOf", "oneOf"):
            if name in mine:
                return all(self._never(c, other, depth + 1) for c in _choices(mine, name))
            if name in other:
                return all(self._never(mine, c, depth + 1) for c in _choices(other, name))
        values = _values(mine)
        if values is not None:
            return not any(self._may_be(value, other, depth + 1) for value in values)
        values = _values(other)
        if values is not None:
            return not any(self._may_be(value, mine, depth + 1) for value in values)
        return all(
            self._kinds_never(kind, mine, other, depth)
            for kind in _kinds(mine, guess=True)
            if any(_meet(kind, theirs) for theirs in _kinds(other, guess=False))
        )

    def _kinds_never(self, kind: str, mine: Schema, other: Schema, depth: int) -> bool:
        match kind:
            case "object":
                return self._objects_never(mine, other, depth)
            case "array":
                first, second = _size(mine, "Items"), _size(other, "Items")
                item = "prefixItems" not in mine and "prefixItems" not in other
                some = max(first[0], second[0]) > 0 and item
                return _beside(first, second) or (
                    some
                    and self._never(mine.get("items", True), other.get("items", True), depth + 1)
                )
            case "string":
                return _beside(_size(mine, "Length"), _size(other, "Length"))
            case "number" | "integer":
                return _beside(_range(mine), _range(other))
            case _:
                return False

    def _objects_never(self, mine: Schema, other: Schema, depth: int) -> bool:
        has, may = _mapping(mine.get("properties")), _mapping(other.get("properties"))
        needs, wants = set(mine.get("required", ())), set(other.get("required", ()))
        named = set(has) | needs
        rest = mine.get("additionalProperties", True)
        # A grammar writes the named properties alone, unless there is none.
        closed = bool(named) or rest is False
        if closed and wants - named:
            return True
        if other.get("additionalProperties", True) is False and needs - set(may):
            return True
        return any(
            self._never(has.get(name, rest), may[name], depth + 1)
            for name in (needs | wants) & set(may)
        )

    def _may_be(self, value: object, schema: object, depth: int) -> bool:
        """Whether a value may satisfy a schema; True where that is not sure."""
        self._steps += 1
        if depth > _DEEPEST or self._steps > _MOST_STEPS:
            return True
        said = self._plain(schema)
        for name in ("anyOf", "oneOf"):
            if name in said:
                return any(self._may_be(value, c, depth + 1) for c in _choices(said, name))
        values = _values(said)
        if values is not None:
            return any(_same(value, one) for one in values)
        right = any(is_kind(value, kind) for kind in _kinds(said, guess=False))
        if isinstance(value, Mapping):
            return right and self._object_may_be(value, said, depth)
        return right and not _beside(*_measured(value, said))

    def _object_may_be(self, value: Mapping[str, Any], said: Schema, depth: int) -> bool:
        has = _mapping(said.get("properties"))
        unknown = said.get("additionalProperties", True) is False and set(value) - set(has)
        if unknown or set(said.get("required", ())) - set(value):
            return False
        return all(
            self._may_be(value[name], has[name], depth + 1) for name in set(value) & set(has)
        )

    def _plain(self, schema: object) -> Schema:
        """A schema without references and remarks, its `allOf` drawn together."""
        for _ in range(_DEEPEST):
            if not isinstance(schema, Mapping):
                return {}
            said = {name: value for name, value in schema.items() if name not in REMARKS}
            if "$ref" in said:
                found = self._look(said.pop("$ref"))
                schema = merged({**said, "allOf": [found]}, "#") if said else found
            elif "allOf" in said:
                schema = merged(said, "#")
            else:
                return said
        return {}


def _choices(schema: Schema, name: str) -> list[object]:
    rest = {key: value for key, value in schema.items() if key != name}
    choices = schema[name] if isinstance(schema[name], list) else []
    return [merged({**rest, "allOf": [choice]}, "#") if rest else choice for choice in choices]


def _values(schema: Schema) -> list[Any] | None:
    """The values that a schema lists; None where it lists none."""
    if "const" in schema:
        return [schema["const"]]
    found = schema.get("enum")
    return found if isinstance(found, list) else None


def _kinds(schema: Schema, *, guess: bool) -> list[str]:
    """The types of its values; `guess`: as the grammar reads a schema that names none."""
    named = schema.get("type", implied(schema) if guess else None)
    found = [named] if isinstance(named, str) else named
    return [str(kind) for kind in found] if isinstance(found, list) else list(TYPES)


def _meet(one: str, other: str) -> bool:
    return one == other or {one, other} == {"number", "integer"}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _measured(value: object, schema: Schema) -> tuple[tuple[float, float], tuple[float, float]]:
    """How large a value is, and how large those of a schema are."""
    if isinstance(value, str | list):
        what = "Length" if isinstance(value, str) else "Items"
        return (len(value), len(value)), _size(schema, what)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (value, value), _range(schema)
    return (0, 0), (0, 0)


def _size(schema: Schema, what: str) -> tuple[float, float]:
    return schema.get(f"min{what}", 0), schema.get(f"max{what}", math.inf)


def _range(schema: Schema) -> tuple[float, float]:
    """From the least to the greatest number; a bound that is left out moves by the least bit."""
    low = max(
        schema.get("minimum", -math.inf),
        math.nextafter(schema.get("exclusiveMinimum", -math.inf), math.inf)
        if "exclusiveMinimum" in schema
        else -math.inf,
    )
    high = min(
        schema.get("maximum", math.inf),
        math.nextafter(schema.get("exclusiveMaximum", math.inf), -math.inf)
        if "exclusiveMaximum" in schema
        else math.inf,
    )
    return low, high


def _beside(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether two ranges have nothing in common."""
    return one[1] < other[0] or other[1] < one[0]


def _same(one: object, other: object) -> bool:
    """Whether two values are one in JSON, where 1 and 1.0 are and 1 and true are not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return one == other
