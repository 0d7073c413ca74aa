"""A hostile template costs an error message: no time, no memory, no way out."""

from __future__ import annotations

import time
import tracemalloc
from datetime import UTC, datetime

import pytest

from localr1.chat.sandbox import LONGEST_TEMPLATE, Sandbox

NAMES = "{% set ns = namespace(s='abcdefgh', a=[], b=[], n=3) %}"
NESTED = NAMES + (
    "{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}"
)
NESTED_TUPLES = NAMES + "{% for i in range(60) %}{% set ns.a = (ns.a, ns.a) %}{% endfor %}"
LONG = "{% set s = 'x' * 1000000 %}"

WASTEFUL = {
    "loops": "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
    "loops over text": LONG + "{% for a in s %}{% for b in s %}{% endfor %}{% endfor %}",
    "counting": "{{ range(1000000000) | list }}",
    "times": "{{ 'a' * 10000000000 }}",
    "times a list": "{{ 10000000000 * [1] }}",
    "powers": "{{ 10 ** 10 ** 10 }}",
    "huge numbers": NAMES + "{% for i in range(60) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
    "doubling by ~": NAMES + "{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    "doubling by +": NAMES + "{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "doubling by blocks": NAMES
    + "{% for i in range(60) %}{% set t %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = t %}"
    "{% endfor %}",
    "a wide number": "{{ '%9999999999d' % 1 }}",
    "a wider number": "{{ '%*d' % (999999999, 1) }}",
    "a wide field": "{{ '{:>9999999999}'.format(1) }}",
    "many fields": "{% set s = 'x' * 100000 %}{{ ('{0}' * 100000).format(s) }}",
    "a wide line": "{{ 'a'.center(9999999999) }}",
    "a wide line by filter": "{{ 'a' | center(9999999999) }}",
    "zeros": "{{ 'a'.zfill(9999999999) }}",
    "tabs": "{{ '\t'.expandtabs(9999999999) }}",
    "translation": LONG + "{{ s.translate({120: s}) }}",
    "replacing nothing": LONG + "{{ s.replace('', s) }}",
    "replacing by filter": LONG + "{{ s | replace('x', s) }}",
    "joining": LONG + "{{ s | join(s) }}",
    "joining by method": LONG + "{{ s.join(s) }}",
    "indenting": "{{ ('\n' * 100000) | indent('x' * 100000) }}",
    "macros": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}"
    "{{ m(60) }}",
    "a macro without end": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "comparing nested lists": NESTED + "{{ ns.a == ns.b }}",
    "searching nested lists": NESTED + "{{ ns.a in [ns.b] }}",
    "sorting nested lists": NESTED + "{{ [ns.a, ns.b] | sort }}",
    "testing nested lists": NESTED + "{{ [ns.a] | select('eq', ns.b) | list }}",
    "writing nested lists": NESTED + "{{ ns.a }}",
    "formatting nested lists": NESTED + "{{ '%s' % (ns.a,) }}",
    "nested lists as JSON": NESTED + "{{ ns.a | tojson }}",
    "nested keys": NESTED_TUPLES + "{{ {ns.a: 1} }}",
    "nested indices": NESTED_TUPLES + "{{ {}[ns.a] }}",
    "nested items": NESTED_TUPLES + "{{ dict([(ns.a, 1)]) }}",
    "looking up nested items": NESTED_TUPLES + "{{ {}.get(ns.a) }}",
    "keeping slices": LONG
    + NAMES
    + "{% for i in range(9999) %}{% set ns.a = [ns.a, s[i:]] %}{% endfor %}",
    "keeping parts": NAMES
    + "{% set s = 'x ' * 1000000 %}"
    + "{% for i in range(9999) %}{% set ns.a = [ns.a, s.split()] %}{% endfor %}",
    "keeping lists": NAMES
    + "{% for i in range(9999) %}{% set ns.a = [ns.a"
    + ", ns.s" * 500
    + "] %}{% endfor %}",
    "much output": "{% for a in range(9999) %}{% for b in range(9999) %}0123456789{% endfor %}"
    "{% endfor %}",
    "its length": "x" * (LONGEST_TEMPLATE + 1),
    "depth": "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "breadth": "{{ 1" + " + 1" * 5000 + " }}",
    "a loop in itself": "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
}
CURIOUS = {
    "classes": "{{ ''.__class__.__mro__ }}",
    "classes by format": "{{ '{0.__class__}'.format(1) }}",
    "globals of functions": "{{ raise_exception.__globals__['sys'] }}",
    "globals of helpers": "{{ cycler.__init__.__globals__ }}",
    "the template": "{{ self.__init__.__globals__ }}",
    "the context": "{{ self._TemplateReference__context.environment.x }}",
    "attributes by filter": "{{ messages | attr('__class__') }}",
    "other files": "{% include '/etc/passwd' %}",
    "other templates": "{% extends '/etc/passwd' %}",
    "modules": "{% import 'os' as os %}",
    "changing": "{{ messages.append(1) }}",
    "emptying": "{{ messages[0].clear() }}",
    "bytes": "{{ 'a'.encode() }}",
    "escaping": "{% autoescape true %}{{ '<' }}{% endautoescape %}",
}


def run(source: str) -> str:
    sandbox = Sandbox(
        source, lambda text: text, lambda text: text, datetime(2025, 1, 2, tzinfo=UTC)
    )
    return sandbox.render({"messages": [{"role": "user", "content": "hi"}]}, 2)


@pytest.mark.parametrize("source", WASTEFUL.values(), ids=WASTEFUL)
def test_waste_is_refused_soon_and_cheaply(source: str) -> None:
    tracemalloc.start()
    started = time.monotonic()
    try:
        with pytest.raises(Exception, match=r".") as caught:
            run(source)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not isinstance(caught.value, MemoryError)
    assert time.monotonic() - started < 30  # a hang
    assert peak_bytes < 256 * 2**20


@pytest.mark.parametrize("source", CURIOUS.values(), ids=CURIOUS)
def test_there_is_no_way_out(source: str) -> None:
    with pytest.raises(
        Exception, match=r"unsafe|undefined|No filter|no loader|uses|switches|width"
    ):
        assert run(source) == ""


def test_what_honest_templates_do_is_done() -> None:
    assert run("{{ range(3) | list }}{{ 'a-b'.split('-')[1] }}{{ messages[0]['content'] }}") == (
        "[0, 1, 2]bhi"
    )
    assert run(
        "{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ loop.last }}{% endfor %}"
    ) == ("1/1True")
    assert run("{{ {'a': [1, 'é\"'], 'b': none} | tojson }}") == '{"a": [1, "é\\""], "b": null}'
    assert run("{{ {'a': 1} | tojson(indent=2) }}") == '{\n  "a": 1\n}'
    assert run("{{ 'x: {}, {n}'.format(1, n='two') }}{{ '%s-%d' % ('a', 2) }}") == "x: 1, twoa-2"
    assert run("{{ 'a\nb' | indent(2) }}{{ ['x', 1] | join(', ') }}{{ 'aXb' | lower }}") == (
        "a\n  bx, 1axb"
    )
    assert (
        run("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}")
        == "01"
    )
    assert run("{% generation %}x{% endgeneration %}{{ strftime_now('%Y') }}") == "x2025"
    assert (
        run(
            "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}"
        )
        == "1"
    )
    assert run("{{ messages | map(attribute='role') | join }}{{ messages | length }}") == "user1"
    assert run("{{ none is none }}{{ 3 is odd }}{{ 'ab' is string }}{{ nothing is defined }}") == (
        "TrueTrueTrueFalse"
    )
    assert run("{% macro m(a, b='y') %}{{ a }}{{ b }}{% endmacro %}{{ m('x') }}") == "xy"


def test_each_run_has_a_budget_of_its_own() -> None:
    sandbox = Sandbox(
        "{% for i in range(9000) %}{{ i }}{% endfor %}",
        lambda text: text,
        lambda text: text,
        datetime(2025, 1, 2, tzinfo=UTC),
    )
    assert len({sandbox.render({}, 0) for _ in range(40)}) == 1
