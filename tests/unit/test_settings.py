"""The commented settings file: a change touches one line, and a broken file falls back."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localr1 import settings
from localr1.config import (
    Directories,
    KeySetting,
    Preferences,
    ensure,
    flat_keys,
    load_preferences,
    load_usable_preferences,
)
from localr1.errors import SettingsError, UsageError

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "theme": st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    "thinking": st.sampled_from(["folded", "open", "hidden"]),
    "context_window": st.integers(0, 10**6),
    "speculation": st.booleans(),
    "model_folders": st.lists(st.sampled_from(["/a", "~/b c", 'd"e', "ü\\f"]), max_size=3),
    "thinking_budget": st.sampled_from(["", "2000", "90s"]),
}
CHANGES = st.sampled_from(sorted(VALUES)).flatmap(
    lambda key: st.tuples(st.just(key), st.none() | VALUES[key])
)
MINE = """# my own words
goal = "fast"   # quick
model_folders = [
    "/one",  # the first
    "/two",
]

theme = '''nord'''
"""


@pytest.fixture
def directories(tmp_path: Path) -> Directories:
    return Directories.standard({"LOCALR1_HOME": str(tmp_path / "home")})


def test_every_setting_has_its_sentence_and_a_place_in_the_file() -> None:
    names = {field.name for field in dataclasses.fields(Preferences)}
    assert set(settings.BY_KEY) == names - {"keys"}
    text = settings.template()
    assert tomllib.loads(text) == {}
    for setting in settings.SETTINGS:
        assert setting.help.endswith(".")
        assert f"# {setting.help}" in text
        assert f"\n# {setting.key} = " in text


@given(st.sampled_from(["", MINE, settings.template(), "goal = 'best'"]), st.lists(CHANGES))
def test_a_change_is_one_line_and_the_rest_stays(text: str, changes: list[tuple[str, Any]]) -> None:
    expected = tomllib.loads(text)
    comments = [line for line in text.splitlines() if line.startswith("# ") and " = " not in line]
    for key, value in changes:
        text = settings.with_value(text, key, value)
        expected.pop(key, None)
        if value is not None:
            expected[key] = value
        assert tomllib.loads(text) == expected
    assert all(line in text.splitlines() for line in comments)


def test_a_first_change_makes_a_file_that_explains_everything(directories: Directories) -> None:
    settings.write(directories, "goal", "fast")
    text = (directories.settings / "settings.toml").read_text()
    assert text.count("\n# ") > 20
    assert load_preferences(directories).goal == "fast"
    settings.write(directories, "goal", None)
    assert load_preferences(directories) == Preferences()
    assert '\n# goal = "balanced"' in (directories.settings / "settings.toml").read_text()


def test_a_broken_file_falls_back_line_by_line(directories: Directories) -> None:
    directories.settings.mkdir(parents=True)
    path = directories.settings / "settings.toml"
    path.write_text('theme = "nord"\ngoal = "cheap"\nthinking = "open"\n')
    preferences, broken = load_usable_preferences(directories)
    assert preferences == Preferences(theme="nord", thinking="open")
    assert broken is not None
    assert "line 2" in broken.why
    assert "`goal`" in broken.why
    path.write_text('theme = "nord"\ngoal =\n')
    preferences, broken = load_usable_preferences(directories)
    assert preferences == Preferences()
    assert broken is not None
    assert "line 2" in broken.why
    with pytest.raises(SettingsError, match="line 2"):
        settings.write(directories, "goal", "fast")
    assert path.read_text() == 'theme = "nord"\ngoal =\n'


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("context_window", "16384", 16384),
        ("context_window", "", None),
        ("speculation", "on", True),
        ("model_folders", "/a, /b ,", ["/a", "/b"]),
        ("thinking_budget", " 90s ", "90s"),
    ],
)
def test_what_is_typed_is_understood(key: str, text: str, value: object) -> None:
    assert settings.understood(settings.BY_KEY[key], text) == value


@pytest.mark.parametrize(
    ("key", "text"),
    [("context_window", "many"), ("goal", "cheap"), ("speculation", "2"), ("thinking_budget", "x")],
)
def test_what_cannot_be_is_refused(key: str, text: str) -> None:
    with pytest.raises(UsageError):
        settings.understood(settings.BY_KEY[key], text)


def keys_of(text: str) -> dict[str, Any]:
    return flat_keys(tomllib.loads(text).get("keys", {}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        settings.template(),
        MINE,
        '[keys]\nchat.stop = "f11"  # mine\n',
        '[keys.chat]\nstop = "f2"\n',
    ],
)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["chat.stop", "chat.new", "app.help", 'a"b\\.ü']),
            st.sampled_from(["", "f1", "ctrl+k,f12"]),
        )
    )
)
def test_keys_change_line_by_line_and_everything_else_stays(
    text: str, changes: list[tuple[str, str]]
) -> None:
    rest = {k: v for k, v in tomllib.loads(text).items() if k != "keys"}
    comments = [line for line in text.splitlines() if line.startswith("#") and "[keys]" not in line]
    wanted = keys_of(text)
    for command, keys in changes:
        text = settings.with_keys(text, command, keys)
        wanted[command] = keys
        if not keys:
            del wanted[command]
        assert keys_of(text) == wanted
        assert {k: v for k, v in tomllib.loads(text).items() if k != "keys"} == rest
    assert [line for line in comments if line not in text.splitlines()] == []


def test_keys_that_only_their_owner_can_change_stay(directories: Directories) -> None:
    path = ensure(directories.settings) / "settings.toml"
    path.write_text('keys = { "chat.stop" = "f2", "chat.new" = "f3" }\n', encoding="utf-8")
    with pytest.raises(SettingsError, match="on a line each") as caught:
        settings.write_keys(directories, "chat.stop", "f9")
    assert "cannot be changed" in caught.value.what
    assert keys_of(path.read_text(encoding="utf-8"))["chat.stop"] == "f2"


def test_a_line_of_keys_that_is_no_text_is_named_and_the_others_hold(
    directories: Directories,
) -> None:
    path = ensure(directories.settings) / "settings.toml"
    text = 'goal = "fast"\n[keys]\n"chat.new" = ["f2", "ctrl+k"]\nchat.stop = 5\n'
    path.write_text(text, encoding="utf-8")
    preferences, broken = load_usable_preferences(directories)
    assert broken is not None
    assert "line 4: `chat.stop` must be keys in quotes, not 5" in broken.why
    assert preferences.goal == "fast"
    assert preferences.keys == (KeySetting("chat.new", "f2, ctrl+k", 3),)
