"""Every error a user can meet, as one family.

Each error answers three questions: what happened, why (in the words of whoever
noticed), and what to do next (a command or a key). The CLI prints the three on
stderr, the TUI shows the three in a note. Foreign exceptions are translated into
this family in one place per library.

    LocalR1Error                     exit code 1
    |-- UsageError                   2   wrong arguments, unknown model
    |   |-- UnknownModel
    |   `-- ProfileError                 a what-if profile that cannot be used
    |-- NothingFits                  3
    |-- OfflineError                 4   offline, and the file is not here
    |-- Interrupted                  130
    |-- SettingsError                    settings or a user's models.toml is wrong
    |   `-- CatalogueError               names the line and the key
    |-- FileError                        a local file cannot be read or written
    |   |-- DiskFull
    |   `-- GgufError                    not a GGUF, damaged, cut short
    |       `-- UnsupportedArchitecture
    |-- DownloadError                    the hub or the network
    |   |-- HubUnreachable           4   as offline
    |   |-- HubNotFound
    |   |-- HubDenied                    gated, private, bad token
    |   |-- FileChanged                  another file than was asked for: ask the hub anew
    |   `-- ChecksumMismatch
    |-- EngineError                      llama.cpp or its worker
    |   |-- EngineMissing                not installed, or does not start here
    |   |-- LoadFailed
    |   |-- RpcUnavailable               another computer's memory cannot be used
    |   |-- ContextFull
    |   |-- EngineDied
    |   `-- BuildFailed                  another build of llama.cpp was not made, or does not work
    |-- TemplateError                    a file's own chat template cannot be used
    `-- StoreError                       the conversation database
"""

from __future__ import annotations

from typing import ClassVar


class LocalR1Error(Exception):
    """Base of everything localr1 tells a user.

    Args:
        what: What happened, one sentence.
        why: The reason, in the words of the library, engine or system; may be empty.
        todo: The next step: a command or a key; may be empty.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, why: str = "", todo: str = "") -> None:
        super().__init__(what, why, todo)
        self.what = what
        self.why = why
        self.todo = todo

    def __str__(self) -> str:
        return " ".join(part for part in (self.what, self.why, self.todo) if part)


class UsageError(LocalR1Error):
    """The command was used wrongly."""

    exit_code = 2


class UnknownModel(UsageError):
    """No catalogue entry or file answers to the given name, or several do."""


class ProfileError(UsageError):
    """A machine profile or what-if flag cannot be understood."""


class NothingFits(LocalR1Error):
    """No plan fits the machine."""

    exit_code = 3


class OfflineError(LocalR1Error):
    """A file is needed that is not here, and the network may not or cannot be used."""

    exit_code = 4


class Interrupted(LocalR1Error):
    """The user stopped the command."""

    exit_code = 130


class SettingsError(LocalR1Error):
    """A settings file cannot be used."""


class CatalogueError(SettingsError):
    """A models.toml is wrong; `why` names the line and the key."""


class FileError(LocalR1Error):
    """A local file or folder cannot be read or written."""


class DiskFull(FileError):
    """Not enough room on the disk."""


class GgufError(FileError):
    """A file is not a GGUF file, or is damaged or cut short."""


class UnsupportedArchitecture(GgufError):
    """A sound GGUF file, but not of a model that localr1 runs."""


class DownloadError(LocalR1Error):
    """A download or a look-up on the hub failed."""


class HubUnreachable(DownloadError):
    """The hub does not answer: no route, time-out, TLS; the same as being offline."""

    exit_code = 4


class HubNotFound(DownloadError):
    """The hub has no such repository, revision or file."""


class HubDenied(DownloadError):
    """The hub refuses: gated, private, or a bad token."""


class FileChanged(DownloadError):
    """The server has another file now than the one that was looked up."""


class ChecksumMismatch(DownloadError):
    """The downloaded bytes are not those that the hub announced."""


class EngineError(LocalR1Error):
    """llama.cpp, or the worker that hosts it, failed."""


class EngineMissing(EngineError):
    """llama-cpp-python is not installed or does not start on this machine."""


class LoadFailed(EngineError):
    """llama.cpp refused to load a model or to make a context."""


class RpcUnavailable(EngineError):
    """This build has no RPC, or an RPC server cannot be used."""


class ContextFull(EngineError):
    """The prompt does not fit the context window."""


class EngineDied(EngineError):
    """The worker process ended on its own."""


class BuildFailed(EngineError):
    """Another build of the engine was not made, or does not work here; the old one is in place."""


class TemplateError(LocalR1Error):
    """A model file's own chat template is missing, fails, or asks for too much."""


class StoreError(LocalR1Error):
    """The conversation database cannot be read or written."""
