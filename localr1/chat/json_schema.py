"""Reading a JSON schema: what its parts say together, and of which types it speaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from localr1.chat import number_grammar as numbers
from localr1.errors import UsageError

Schema = Mapping[str, Any]
# They say nothing of the value.
REMARKS: Final = (
    *("title", "description", "default", "examples", "$schema", "$id", "$comment", "$defs"),
    *("definitions", "deprecated", "readOnly", "writeOnly", "$anchor", "discriminator"),
)
TYPES: Final = ("object", "array", "string", "number", "integer", "boolean", "null")
NO_SCHEMA: Final = "a schema is an object, `true` or `false`"


def refused(place: str, why: str) -> UsageError:
    """What is raised for a schema that cannot be used."""
    return UsageError("The schema cannot be used.", f"At {place}: {why}.", "Change the schema.")


def implied(schema: Schema) -> str | None:
    """The type that a schema without one means."""
    for kind, names in (
        ("object", ("properties", "required", "additionalProperties")),
        ("array", ("items", "prefixItems", "minItems", "maxItems")),
        ("string", ("minLength", "maxLength")),
        ("number", numbers.BOUNDS),
    ):
        if any(name in schema for name in names):
            return kind
    return None


def merged(schema: Schema, place: str) -> dict[str, Any]:
    """A schema together with all of its `allOf`, as one."""
    merged = {name: value for name, value in schema.items() if name != "allOf"}
    parts = schema["allOf"]
    if not isinstance(parts, list):
        raise refused(place, "`allOf` is a list of schemas")
    for part in parts:
        if part is True:
            continue
        if not isinstance(part, Mapping):
            raise refused(place, NO_SCHEMA)
        for name, value in part.items():
            if name in REMARKS or merged.get(name, value) == value:
                merged[name] = value
            elif name == "properties":
                common = set(value) & set(merged[name])
                both = {key: {"allOf": [merged[name][key], value[key]]} for key in common}
                merged[name] = {**merged[name], **value, **both}
            elif name == "required":
                merged[name] = [*merged[name], *(one for one in value if one not in merged[name])]
            else:
                raise refused(place, f"two parts of it say `{name}` in different ways")
    return merged


def is_kind(value: object, kind: object) -> bool:
    """Whether a value, as read from JSON, is of a type."""
    if kind == "integer":
        return type(value) is int or (isinstance(value, float) and value.is_integer())
    return type(value) in _PYTHON.get(str(kind), ())


_PYTHON: Final[Mapping[str, tuple[type, ...]]] = {
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "string": (str,),
    "array": (list,),
    "object": (dict,),
}
