"""Settings, state and places."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localr1.amount import ThinkingBudget, parse_thinking_budget
from localr1.config import (
    Directories,
    Preferences,
    ensure,
    load_preferences,
    network_allowed,
    write_atomically,
)
from localr1.errors import FileError, SettingsError, UsageError
from localr1.state import State, load_state, save_state


@pytest.fixture
def directories(tmp_path: Path) -> Directories:
    return Directories.standard({"LOCALR1_HOME": str(tmp_path / "home")})


def settings(directories: Directories, text: str) -> Directories:
    ensure(directories.settings).joinpath("settings.toml").write_text(text, encoding="utf-8")
    return directories


def test_one_folder_holds_everything_when_home_is_set(
    directories: Directories, tmp_path: Path
) -> None:
    places = dataclasses.astuple(directories)
    assert all(place.is_relative_to(tmp_path / "home") for place in places)
    assert len(set(places)) == len(places)
    assert not (tmp_path / "home").exists()


def test_a_relative_home_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Directories.standard({"LOCALR1_HOME": "stick"}).data == tmp_path / "stick" / "data"


def test_the_systems_places_are_used_without_home() -> None:
    places = Directories.standard({})
    assert all("localr1" in str(place) for place in dataclasses.astuple(places))
    assert places.models.parent == places.data


def test_no_file_means_defaults(directories: Directories) -> None:
    assert load_preferences(directories) == Preferences()


def test_every_setting_is_read(directories: Directories, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    settings(
        directories,
        f"""
        models_directory = '{disk}'
        theme = "nord"
        thinking = "hidden"
        context_window = 16384
        goal = "fast"
        when_full = "stop"
        thinking_budget = "90s"
        kv_state_limit = "1.5GB"
        speculation = true
        """,
    )
    preferences = load_preferences(directories)
    assert preferences == Preferences(
        disk, "nord", "hidden", 16384, "fast", "stop", "90s", "1.5GB", speculation=True
    )
    assert preferences.kv_state_limit_bytes == 1_500_000_000
    assert preferences.thinking_limits == ThinkingBudget(seconds=90.0)
    assert preferences.draft_tokens > 0
    assert directories.preferring(preferences).models == disk
    assert directories.preferring(Preferences()) is directories


def test_what_is_not_set_costs_and_changes_nothing() -> None:
    preferences = Preferences()
    assert preferences.thinking_limits == ThinkingBudget()
    assert preferences.draft_tokens == 0
    assert preferences.kv_state_limit_bytes == 4 << 30
    assert Preferences(kv_state_limit="0").kv_state_limit_bytes == 0


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("", ThinkingBudget()),
        (" 2000 ", ThinkingBudget(tokens=2000)),
        ("0", ThinkingBudget(tokens=0)),
        ("90s", ThinkingBudget(seconds=90.0)),
    ],
)
def test_thinking_budgets(text: str, budget: ThinkingBudget) -> None:
    assert parse_thinking_budget(text) == budget


@pytest.mark.parametrize("text", ["-1", "1.5", "90 s", "90S", "s", "1m", "9" * 10, "٣"])
def test_what_is_no_thinking_budget(text: str) -> None:
    with pytest.raises(UsageError):
        parse_thinking_budget(text)


def test_a_relative_folder_is_relative_to_the_settings(directories: Directories) -> None:
    settings(directories, 'models_directory = "../m"')
    assert load_preferences(directories).models_directory == directories.settings / ".." / "m"


def test_folders_with_models_are_relative_to_the_settings(
    directories: Directories, tmp_path: Path
) -> None:
    settings(directories, f"model_folders = ['{tmp_path}', 'mine']")
    assert load_preferences(directories).model_folders == (tmp_path, directories.settings / "mine")


def test_a_byte_order_mark_is_no_mistake(directories: Directories) -> None:
    # Windows' Notepad writes one.
    settings(directories, "\ufefftheme = 'nord'\n")
    assert load_preferences(directories).theme == "nord"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# mine\n\nthinkin = 'open'\n", ("line 3", "`thinkin`", "thinking")),
        ("theme = 'x'\n[goal]\nname = 1\n", ("line 2", "`goal`", "balanced")),
        ("theme = 3\n", ("line 1", "`theme`", "text")),
        ("goal = 'cheap'\n", ("line 1", "`goal`", "best, balanced, fast")),
        ("\nthinking = true\n", ("line 2", "`thinking`", "folded, open, hidden")),
        ("context_window = -1\n", ("line 1", "`context_window`", "whole number")),
        ("context_window = true\n", ("line 1", "`context_window`", "whole number")),
        ("context_window = '8k'\n", ("line 1", "`context_window`", "whole number")),
        ("models_directory = ''\n", ("line 1", "`models_directory`", "folder")),
        ("model_folders = '/models'\n", ("line 1", "`model_folders`", "list of folders")),
        ("model_folders = ['/a', '']\n", ("line 1", "`model_folders`", "list of folders")),
        ("theme = 'x'\ntheme =\n", ("line 2",)),
        ("when_full = 'shift'\n", ("line 1", "`when_full`", "continue, stop")),
        ("quiet = true\n", ("line 1", "`quiet`", "never, battery, always")),
        ("speculation = 1\n", ("line 1", "`speculation`", "true or false")),
        ("thinking_budget = 'long'\n", ("line 1", "`thinking_budget`", "tokens (2000)")),
        ("thinking_budget = 2000\n", ("line 1", "`thinking_budget`", "text in quotes")),
        ("kv_state_limit = 'much'\n", ("line 1", "`kv_state_limit`", "24GiB")),
    ],
)
def test_a_mistake_names_line_and_key(
    directories: Directories, text: str, expected: tuple[str, ...]
) -> None:
    settings(directories, text)
    with pytest.raises(SettingsError) as caught:
        load_preferences(directories)
    for part in expected:
        assert part in caught.value.why
    assert "settings.toml" in caught.value.what
    assert caught.value.todo


def test_settings_that_are_not_text(directories: Directories) -> None:
    ensure(directories.settings).joinpath("settings.toml").write_bytes(b"theme = '\xff'")
    with pytest.raises(SettingsError):
        load_preferences(directories)


def test_settings_that_cannot_be_read(directories: Directories) -> None:
    ensure(directories.settings / "settings.toml")
    with pytest.raises(FileError):
        load_preferences(directories)


@given(
    st.builds(
        State,
        last_model=st.text(),
        last_quantization=st.text(),
        last_path=st.text(),
        first_run_done=st.booleans(),
    )
)
def test_state_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, state: State) -> None:
    home = Directories.standard({"LOCALR1_HOME": str(tmp_path_factory.getbasetemp() / "state")})
    save_state(home, state)
    assert load_state(home) == state


def test_state_of_a_newer_version_is_understood(directories: Directories) -> None:
    save_state(directories, State(last_model="demo"))
    path = directories.data / "state.json"
    path.write_text(path.read_text().replace("{", '{"new": [1],', 1))
    assert load_state(directories) == State(last_model="demo")


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b"\xff\xfe", b'{"last_model": 7}', b'{"first_run_done": 1}']
)
def test_a_damaged_state_is_set_aside(directories: Directories, damage: bytes) -> None:
    path = ensure(directories.data) / "state.json"
    path.write_bytes(damage)
    assert load_state(directories) == State()
    assert not path.exists()
    assert path.with_name("state.json.damaged").read_bytes() == damage
    save_state(directories, State(first_run_done=True))
    assert load_state(directories).first_run_done


def test_no_state_is_a_fresh_start(directories: Directories) -> None:
    assert load_state(directories) == State()


def test_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError) as caught:
        ensure(tmp_path / "file" / "below")
    assert caught.value.todo


def test_writing_leaves_the_old_file_when_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "taken"
    path.mkdir()
    with pytest.raises(FileError):
        write_atomically(path, "text")
    assert list(tmp_path.iterdir()) == [path]


def test_a_state_that_cannot_be_written(directories: Directories) -> None:
    ensure(directories.data.parent)
    directories.data.write_text("a file in the way")
    with pytest.raises(FileError):
        save_state(directories, State())


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_a_state_is_for_its_owner_only(directories: Directories) -> None:
    save_state(directories, State())
    assert (directories.data / "state.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("value", ["1", "on", "YES", "True"])
def test_the_hubs_offline_variable_is_absolute(value: str) -> None:
    assert not network_allowed(offline_flag=False, environment={"HF_HUB_OFFLINE": value})


@pytest.mark.parametrize("value", ["", "0", "no", "off"])
def test_other_values_do_not_mean_offline(value: str) -> None:
    assert network_allowed(offline_flag=False, environment={"HF_HUB_OFFLINE": value})
    assert not network_allowed(offline_flag=True, environment={"HF_HUB_OFFLINE": value})
