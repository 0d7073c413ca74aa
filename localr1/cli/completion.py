"""`localr1 completion`: what a shell offers when Tab is pressed.

Each shell's script asks this program what may follow, so that there is one answer for all.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from localr1.cli import output, parser
from localr1.errors import LocalR1Error
from localr1.printable import one_line

_SCRIPTS: Final = {
    "bash": r"""# localr1 for bash: put this line into ~/.bashrc
#   eval "$(localr1 completion bash)"
_localr1() {
    local IFS=$'\n'
    COMPREPLY=($(localr1 completion words --cut --line "${COMP_LINE:0:COMP_POINT}" 2>/dev/null |
        cut -f 1))
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == */ ]] && compopt -o nospace
    return 0
}
complete -o default -F _localr1 localr1
""",
    "zsh": r"""# localr1 for zsh: put this line into ~/.zshrc, after compinit
#   eval "$(localr1 completion zsh)"
_localr1() {
    local -a found
    local name help
    while IFS=$'\t' read -r name help; do
        found+=("${name//:/\\:}${help:+:$help}")
    done < <(localr1 completion words --line "$LBUFFER" 2>/dev/null)
    if (( ${#found} )); then
        _describe localr1 found
    else
        _files
    fi
}
compdef _localr1 localr1
""",
    "fish": r"""# localr1 for fish: put this line into ~/.config/fish/config.fish
#   localr1 completion fish | source
function __localr1_words
    set -l found (localr1 completion words --line (commandline -cp | string collect) 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c localr1 -f -a '(__localr1_words)'
""",
    "powershell": r"""# localr1 for PowerShell: put this line into the file that $PROFILE names
#   localr1 completion powershell | Out-String | Invoke-Expression
Register-ArgumentCompleter -Native -CommandName localr1 -ScriptBlock {
    param($word, $tree, $at)
    $line = $tree.ToString()
    if ($at -gt $line.Length) { $line += ' ' }
    localr1 completion words --line $line 2>$null | ForEach-Object {
        $name, $help = $_ -split "`t", 2
        if (-not $help) { $help = $name }
        [System.Management.Automation.CompletionResult]::new($name, $name, 'ParameterValue', $help)
    }
}
""",
}
SHELLS: Final = tuple(_SCRIPTS)
# Where bash cuts a word in two, and only wants the second half.
_BREAKS: Final = "@:="
_HELP_WIDTH: Final = 60
_MODEL: Final = frozenset({"model"})
_THINKING: Final = (
    ("show", "on stderr"),
    ("hide", "think, and show nothing of it"),
    ("none", "answer at once"),
)


@dataclass(frozen=True)
class Candidate:
    """What may come next."""

    name: str
    help: str = ""


def run(arguments: argparse.Namespace) -> int:
    """Print a shell's script, or what may follow a line."""
    if arguments.shell != "words":
        sys.stdout.write(_SCRIPTS[arguments.shell])
        return 0
    words = split(arguments.line)
    cut = max(words[-1].rfind(mark) for mark in _BREAKS) + 1 if arguments.cut else 0
    output.print_lines(
        f"{found.name[cut:]}\t{one_line(found.help, _HELP_WIDTH)}".rstrip("\t")
        for found in candidates(words)
    )
    return 0


def split(line: str) -> list[str]:
    """The words of a command line after the program's name; the last one is begun, or empty."""
    for closing in ("", '"', "'"):  # a quote may be open
        with suppress(ValueError):
            words = shlex.split(line + closing)
            break
    else:
        words = line.split()
    if not line or line[-1].isspace():
        words.append("")
    return words[1:] or [""]


def candidates(words: list[str]) -> list[Candidate]:
    """What may stand where the last word is; empty where a file is wanted.

    Args:
        words: As from `split`.
    """
    *before, begun = words
    here = parser.build()
    taken: list[str] = []
    wanted: argparse.Action | None = None
    for word in before:
        options = _options(here)
        if wanted is not None:
            wanted = None
        elif word.startswith("-"):
            option = options.get(word)
            wanted = option if option is not None and option.nargs != 0 else None
        elif (sub := _subcommands(here)) is not None and word in sub.choices:
            here, taken = sub.choices[word], []
        else:
            taken.append(word)
    if wanted is not None:
        found = _values(wanted)
    elif begun.startswith("-"):
        found = _flags(here)
    else:
        found = _next_positional(here, taken, begun)
    return [one for one in found if one.name.startswith(begun)]


def _options(here: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    return {name: action for action in here._actions for name in action.option_strings}  # noqa: SLF001 - argparse tells no other way


def _subcommands(
    here: argparse.ArgumentParser,
) -> argparse._SubParsersAction[argparse.ArgumentParser] | None:
    found = (a for a in here._actions if isinstance(a, argparse._SubParsersAction))  # noqa: SLF001 - as above
    return next(found, None)


def _flags(here: argparse.ArgumentParser) -> Iterator[Candidate]:
    for action in here._actions:  # noqa: SLF001 - as above
        if action.option_strings and action.help is not argparse.SUPPRESS:
            yield Candidate(action.option_strings[-1], action.help or "")


def _next_positional(
    here: argparse.ArgumentParser, taken: list[str], begun: str
) -> Iterable[Candidate]:
    sub = _subcommands(here)
    if sub is not None:
        return [Candidate(a.dest, a.help or "") for a in sub._choices_actions]  # noqa: SLF001 - as above
    positional = [a for a in here._actions if not a.option_strings]  # noqa: SLF001 - as above
    if not positional:
        return ()
    action = positional[min(len(taken), len(positional) - 1)]
    if len(taken) >= len(positional) and action.nargs not in {"*", "+"}:
        return ()
    if action.dest == "prompt":
        return _attachable(begun)
    return _values(action)


def _values(action: argparse.Action) -> Iterable[Candidate]:
    """What an option or a place may hold; empty where it may hold anything."""
    if action.choices is not None:
        return [Candidate(str(choice)) for choice in action.choices]
    if action.dest == "thinking":
        return [Candidate(*one) for one in _THINKING]
    return _models() if action.dest in _MODEL else ()


def _models() -> list[Candidate]:
    from localr1.home import open_home  # noqa: PLC0415 - reads files; most words need none

    try:
        catalogue = open_home(offline=True).catalogue
    except LocalR1Error:
        return []  # the command itself says what is wrong
    return [Candidate(model.id, model.name) for model in catalogue.models]


def _attachable(begun: str) -> Iterator[Candidate]:
    """Files for `@FILE`."""
    if not begun.startswith("@"):
        return
    folder, name = os.path.split(begun[1:])
    with suppress(OSError):
        for entry in sorted(os.scandir(os.path.expanduser(folder) or "."), key=lambda e: e.name):  # noqa: PTH111 - as `config.expanded`
            if entry.name.startswith(name) and (name or not entry.name.startswith(".")):
                path = os.path.join(folder, entry.name)  # noqa: PTH118 - as it was typed
                yield Candidate(f"@{path}{'/' if entry.is_dir() else ''}")
