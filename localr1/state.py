"""What the app remembers between runs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_type_hints

from localr1.config import Directories, ensure, write_atomically


@dataclass(frozen=True)
class State:
    """What the app remembers between runs; written by the app, not by people."""

    last_model: str = ""
    """Catalogue id of the model last chatted with; empty for none, or for a plain file."""
    last_quantization: str = ""
    last_path: str = ""
    """The file that was loaded."""
    first_run_done: bool = False
    """Whether the user has been through machine, advice and download once."""


def load_state(directories: Directories) -> State:
    """Read what the app remembers; a damaged file is set aside, never an error.

    A file that is not JSON of the right shape is renamed to `state.json.damaged`.
    """
    path = directories.data / "state.json"
    try:
        data = json.loads(path.read_bytes())
    except OSError:
        return State()
    except ValueError:
        return _set_aside(path)
    if not isinstance(data, dict):
        return _set_aside(path)
    kinds = get_type_hints(State)
    known = {name: data[name] for name in kinds if name in data}
    if any(type(value) is not kinds[name] for name, value in known.items()):
        return _set_aside(path)
    return State(**known)


def save_state(directories: Directories, state: State) -> None:
    """Write what the app remembers, in one step.

    Raises:
        FileError: The folder or file cannot be written.
    """
    ensure(directories.data)
    write_atomically(directories.data / "state.json", json.dumps(asdict(state), indent=1) + "\n")


def _set_aside(path: Path) -> State:
    try:
        path.replace(path.with_name(path.name + ".damaged"))
    except OSError:
        # Only a read-only disk gets here; the state is rebuilt from defaults either way.
        return State()
    return State()
