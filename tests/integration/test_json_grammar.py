"""Schemas as grammars: what llama.cpp writes by them satisfies them."""

from __future__ import annotations

import json
import os
import random
from typing import Any

import pytest
from grammars import satisfies, takes, written
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localr1.chat.json_grammar import grammar_of
from localr1.errors import UsageError

SOAK = os.environ.get("LOCALR1_SOAK") == "1"
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "friends": {"type": "array", "items": {"$ref": "#"}, "maxItems": 2},
        "mood": {"enum": ["good", 'so "so"', None, "schön"]},
    },
    "required": ["name", "mood"],
    "additionalProperties": False,
}
REACH = st.integers(-1200, 1200)


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (True, ['{"a": [1, null]}', "-1.5e3", '"x"'], ["", "{", "nul", "'x'", '"\n"', '"\\ud800"']),
        ({"type": "integer"}, ["0", "-12", "9007199254740993"], ["01", "1.0", "+1", "1e3"]),
        ({"type": "boolean"}, ["true", "false"], ["True", "1"]),
        ({"type": ["string", "null"]}, ['""', "null", '"\\u00e9\\n"'], ["0", "[]"]),
        ({"const": 'a\\b"c'}, ['"a\\\\b\\"c"'], ['"a"']),
        ({"type": "string", "maxLength": 2}, ['""', '"ab"', '"\\n\\t"'], ['"abc"']),
        ({"minItems": 1, "maxItems": 2, "items": {"type": "null"}}, ["[null]", "[null, null]"],
         ["[]", "[1]", "[null,null,null]"]),
        ({"prefixItems": [{"type": "null"}, True], "items": False}, ["[null, 3]"], ["[3, 3]"]),
        ({"type": "string", "format": "date"}, ['"2026-11-25"'], ['"2026-13-01"', '"today"']),
        ({"additionalProperties": {"type": "null"}}, ["{}", '{"a": null,"b":null}'], ['{"a":1}']),
        (PERSON, ['{"name": "A", "mood": "good"}', '{"name":"A","age":150,"friends":[],"mood":null}',
                  '{\n  "name": "A",\n  "mood": "schön"\n}'],
         ['{"mood":"good"}', '{"name":"","mood":null}', '{"name":"A","age":151,"mood":null}',
          '{"name":"A","mood":"bad"}', '{"name":"A","mood":null,"x":1}']),
        ({"allOf": [{"properties": {"a": {"type": "null"}}}, {"required": ["a", "b"]}]},
         ['{"a": null, "b": 2}'], ["{}", '{"a": 1, "b": 2}']),
    ],
)  # fmt: skip
def test_what_a_grammar_takes(schema: Any, good: list[str], bad: list[str]) -> None:
    grammar = grammar_of(schema)
    for text in good:
        assert takes(grammar, text), text
    for text in bad:
        assert not takes(grammar, text), text


@given(
    st.tuples(REACH, REACH).map(sorted),
    REACH,
    st.sampled_from(["integer", "number"]),
    st.booleans(),
    st.booleans(),
)
@settings(
    max_examples=300 if SOAK else 30,
    deadline=None,
    suppress_health_check=[HealthCheck.differing_executors],
)
def test_numbers_keep_to_their_bounds(
    bounds: list[int], value: int, kind: str, above: bool, below: bool
) -> None:
    low, high = bounds
    schema = {
        "type": kind,
        "exclusiveMinimum" if above else "minimum": low,
        "exclusiveMaximum" if below else "maximum": high,
    }
    room = high - low - (above + below if kind == "integer" else 0)
    if room < 0 or (kind == "number" and low == high and (above or below)):
        with pytest.raises(UsageError, match="no number"):
            grammar_of(schema)
        return
    grammar = grammar_of(schema)
    tried = {value, low, high, low - 1, high + 1, low + 1, 0}
    for number in tried:
        assert takes(grammar, str(number)) == satisfies(number, schema), number
    if kind == "number":
        for number in tried:
            assert takes(grammar, f"{number}.5") == satisfies(float(f"{number}.5"), schema)


SCALARS = st.one_of(
    st.just({"type": "null"}),
    st.just({"type": "boolean"}),
    st.just({"type": "number", "minimum": -3}),
    st.just({"type": "string", "maxLength": 3}),
    st.just({"enum": [1, "two", [3], {"four": 5}, True]}),
    st.just({"const": "x"}),
)


def _deeper(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["a", "b", "c d", 'e"f', "g\\", "schön", "日本"])
    objects = st.dictionaries(names, inner, max_size=4).flatmap(
        lambda found: st.lists(st.sampled_from(sorted(found) or ["z"]), unique=True).map(
            lambda needed: {"type": "object", "properties": found, "required": needed}
        )
    )
    arrays = st.builds(
        lambda items, least, more: {"items": items, "minItems": least, "maxItems": least + more},
        inner,
        st.integers(0, 2),
        st.integers(0, 2),
    )
    return st.one_of(objects, arrays, st.lists(inner, min_size=1).map(lambda any_: {"anyOf": any_}))


@given(st.recursive(SCALARS, _deeper, max_leaves=6), st.integers(0, 2**32))
@settings(
    max_examples=400 if SOAK else 30,
    deadline=None,
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
)
def test_whatever_is_written_satisfies_the_schema(schema: Any, seed: int) -> None:
    text = written(grammar_of(schema), random.Random(seed))
    if text is not None:
        assert satisfies(json.loads(text), schema), text


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"properties": {"a": {"type": "string", "pattern": "x"}}}, "#/properties/a"),
        ({"uniqueItems": True, "items": True}, "uniqueItems"),
        ({"not": {}}, "`not`"),
        ({"$ref": "https://example.org/schema"}, "fetched"),
        ({"$ref": "#"}, "circle"),
        ({"$ref": "#/nowhere"}, "nowhere"),
        ({"type": "integer", "multipleOf": 5}, "multipleOf"),
        ({"type": "date"}, "type"),
        ({"type": []}, "type"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "minLength"),
        ({"properties": {}, "required": ["a"], "additionalProperties": False}, "required"),
        ({"enum": []}, "no value"),
        (False, "false"),
        (3, "schema is"),
        ({"anyOf": []}, "anyOf"),
        ({"allOf": [{"type": "null"}, {"type": "string"}]}, "different"),
    ],
)
def test_what_no_grammar_can_promise_is_refused_by_name(schema: Any, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        grammar_of(schema)
    assert words in caught.value.why


CIRCLE = {"type": "object", "properties": {"kind": {"const": "circle"}, "r": {"type": "number"}}}
SQUARE = {"type": "object", "properties": {"kind": {"const": "square"}, "a": {"type": "number"}}}
NAMED = {"required": ["kind"]}
TREE = {
    "$defs": {
        "leaf": {"type": "object", "properties": {"value": {"type": "integer"}}, "required": ["value"],
                 "additionalProperties": False},
        "node": {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}},
                 "required": ["left", "right"], "additionalProperties": False},
    },
    "oneOf": [{"$ref": "#/$defs/leaf"}, {"$ref": "#/$defs/node"}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "good"),
    [
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, "null"),
        ({"oneOf": [{**CIRCLE, **NAMED}, {**SQUARE, **NAMED}]}, '{"kind": "square", "a": 1}'),
        ({"oneOf": [CIRCLE, SQUARE], **NAMED}, '{"kind": "circle"}'),
        ({"oneOf": [{"enum": [1, 2]}, {"enum": [3, False]}, {"type": "string"}]}, "false"),
        ({"oneOf": [{"type": "integer", "maximum": 0}, {"type": "number", "minimum": 1}]}, "-4"),
        (
            {"oneOf": [
                {"type": "integer", "exclusiveMaximum": 5}, {"type": "integer", "minimum": 5}
            ]},
            "5",
        ),
        (
            {"oneOf": [
                {"properties": {"a": True}, "required": ["a"], "type": "object"},
                {"properties": {"b": True}, "required": ["b"], "type": "object"},
            ]},
            '{"b": 1}',
        ),
        ({"oneOf": [{"maxItems": 1, "items": True}, {"minItems": 2, "items": True}]}, "[1, 2]"),
        (
            {"oneOf": [
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
                {"type": "array", "items": {"type": "null"}, "minItems": 1},
            ]},
            "[null]",
        ),
        ({"oneOf": [{"maxLength": 3, "type": "string"}, {"minLength": 4, "type": "string"}]}, '"abcd"'),
        (TREE, '{"left": {"value": 1}, "right": {"value": 2}}'),
        ({"oneOf": [True]}, "1"),
    ],
)  # fmt: skip
def test_parts_that_exclude_each_other_are_taken(schema: Any, good: str) -> None:
    assert takes(grammar_of(schema), good)
    assert satisfies(json.loads(good), schema)


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ([{"type": "number"}, {"type": "integer"}], (0, 1)),
        ([True, {"type": "null"}], (0, 1)),
        ([{"type": "null"}, {"const": 1}, {"enum": [2, 1.0]}], (1, 2)),
        ([CIRCLE, SQUARE], (0, 1)),  # a value without `kind` is both
        ([{**CIRCLE, **NAMED}, {"type": "object", "required": ["r"]}], (0, 1)),
        ([{"type": "string", "format": "date"}, {"type": "string", "format": "time"}], (0, 1)),
        ([{"type": "string"}, {"required": ["a"]}], (0, 1)),  # the second allows any string
        ([{"anyOf": [{"type": "null"}, {"type": "string"}]}, {"const": "x"}], (0, 1)),
        ([{"const": "x"}, {"const": "x"}], (0, 1)),
    ],
)
def test_parts_that_may_hold_both_are_refused(parts: list[Any], named: tuple[int, int]) -> None:
    with pytest.raises(UsageError) as caught:
        grammar_of({"oneOf": parts})
    assert f"the parts {named[0]} and {named[1]} of `oneOf`" in caught.value.why
    assert "`anyOf`" in caught.value.why


@given(
    st.lists(st.recursive(SCALARS, _deeper, max_leaves=5), min_size=2, max_size=3),
    st.integers(0, 2**32),
)
@settings(
    max_examples=600 if SOAK else 60,
    deadline=None,
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
)
def test_what_is_written_by_one_part_satisfies_no_other(parts: list[Any], seed: int) -> None:
    schema = {"oneOf": parts}
    try:
        grammar = grammar_of(schema)
    except UsageError:
        return
    text = written(grammar, random.Random(seed))
    if text is not None:
        assert satisfies(json.loads(text), schema), text


def test_a_schema_that_refers_to_itself_everywhere_is_judged_at_once() -> None:
    wide = {f"p{n}": {"$ref": "#"} for n in range(8)}
    part = {"type": "object", "properties": wide, "required": sorted(wide)}
    with pytest.raises(UsageError, match="oneOf"):
        grammar_of({"oneOf": [part, {**part, "properties": {**wide, "q": True}}]})
