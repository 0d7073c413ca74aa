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
    Preferences,
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
    assert set(settings.BY_KEY) == names
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
