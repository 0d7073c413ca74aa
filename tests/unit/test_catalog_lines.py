"""The line finder sees exactly the keys that tomllib sees."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from localr1.models import catalog
from localr1.models.toml_line import KeyPath, key_lines


def paths(node: object, at: KeyPath = ()) -> Iterator[KeyPath]:
    if at:
        yield at
    children: list[tuple[str | int, object]] = []
    if isinstance(node, dict):
        children = list(node.items())
    elif isinstance(node, list):
        children = list(enumerate(node))
    for key, child in children:
        yield from paths(child, (*at, key))


def test_our_own_catalogue() -> None:
    text = catalog.built_in_path().read_text(encoding="utf-8")
    lines = key_lines(text)
    assert set(lines) == set(paths(tomllib.loads(text)))
    at = lines["model", 1, "architecture", "layers"]
    assert text.splitlines()[at - 1] == "layers = 28"


def test_every_form_of_toml() -> None:
    text = '''\
# comment = "no key"
a.b."c.d" = 1 # = 2
'q "x"' = 'it''s'
long = """
x = 1
\\"""" # "
[t] # [u]
list = [
  1, # one ]
  [ 2, { k = "}", l = [ ] } ],
  """two
lines""",
]
[[t.rows]]
n = { }
[[t.rows]]
[t.rows.deep]
z = 1979-05-27T07:32:00Z
[ "quoted key" . x ]
'''.replace("'it''s'", "'it is'")
    lines = key_lines(text)
    assert set(lines) == set(paths(tomllib.loads(text)))
    expected: dict[KeyPath, int] = {
        ("a", "b", "c.d"): 2,
        ('q "x"',): 3,
        ("long",): 4,
        ("t",): 7,
        ("t", "list", 1, 1, "k"): 10,
        ("t", "list", 2): 11,
        ("t", "rows", 0, "n"): 15,
        ("t", "rows", 1): 16,
        ("t", "rows", 1, "deep", "z"): 18,
        ("quoted key", "x"): 19,
    }
    assert {path: lines[path] for path in expected} == expected
    assert key_lines(text.replace("\n", "\r\n")) == lines


NAMES = st.sampled_from(["a", "b", "c-d", "e.f", 'g"h', "i = 1", "[j]"])
SCALARS = st.one_of(
    st.integers(-(2**40), 2**40),
    st.booleans(),
    st.sampled_from(["", "x", "# no", "] }", '"', "\\", "'''", "\n[t]\nk = 1\n"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def written(value: object, gap: str) -> str:
    """The value as TOML; lists spread over lines by `gap`, strings long where they may be."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"""{value}"""' if "\n" in value else quoted(value)
    if isinstance(value, list):
        return "[" + gap + ("," + gap).join(written(v, gap) for v in value) + gap + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(k)} = {written(v, '')}" for k, v in value.items()) + "}"
    return str(value)


@given(
    top=st.dictionaries(NAMES, VALUES, max_size=4),
    tables=st.lists(st.dictionaries(NAMES, VALUES, max_size=3), max_size=3),
    gap=st.sampled_from(["", " ", "\n  ", " # ] }\n"]),
)
def test_any_document(top: dict[str, object], tables: list[dict[str, object]], gap: str) -> None:
    text = "".join(f"{quoted(k)} = {written(v, gap)}{gap}\n" for k, v in top.items())
    for table in tables:
        text += "[[rows]]\n"
        text += "".join(f"  {quoted(k)}={written(v, gap)}\n" for k, v in table.items())
    parsed = tomllib.loads(text)
    lines = key_lines(text)
    assert set(lines) == set(paths(parsed))
    source = text.split("\n")
    for path, line in lines.items():
        if len(path) == 1 and path != ("rows",):
            assert source[line - 1].startswith(quoted(str(path[0])))
