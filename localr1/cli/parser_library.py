"""The grammar of the commands about models on disk."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Protocol


class AddCommand(Protocol):
    """Adds a command to the command line."""

    def __call__(
        self, name: str, summary: str, description: str, examples: str = ""
    ) -> argparse.ArgumentParser:
        """The parser of the new command."""


def add(command: AddCommand, model: str) -> None:
    """Add the commands.

    Args:
        command: Adds one.
        model: What MODEL may be, for `--help`.
    """
    models = command(
        "models",
        "the models, and which are here",
        "List the R1 family: what can be pulled, and what is on this disk, also in the folders of\n"
        "Hugging Face, LM Studio, Ollama, llama.cpp, Jan and text-generation-webui, and in those\n"
        "that `model_folders` in settings.toml names. Files of other programs are used where they\n"
        "lie and never changed.",
        "  localr1 models\n  localr1 models --unused\n  localr1 models --refresh",
    )
    _json(models)
    models.add_argument("--all", action="store_true", help="every variant, and every file found")
    models.add_argument(
        "--unused", action="store_true", help="what could be deleted, and why; deletes nothing"
    )
    models.add_argument(
        "--refresh",
        action="store_true",
        help="ask the hub for new variants, sizes and checksums; shows what would change first",
    )
    models.add_argument(
        "--yes", action="store_true", help="with --refresh: keep the changes without asking"
    )

    pull = command(
        "pull",
        "download a model",
        "Download models from the hub, one after the other, or go on with downloads that were\n"
        "stopped. Without a variant the one that suits this computer best is taken; without a model\n"
        "it goes on with whatever waits. HF_ENDPOINT, HF_TOKEN and proxies are honoured.",
        "  localr1 pull 7b\n  localr1 pull r1-distill-qwen-14b:Q5_K_M 7b --limit 5MB/s\n"
        "  localr1 pull",
    )
    pull.add_argument("model", metavar="MODEL[:VARIANT]", nargs="*", help=model)
    profile(pull.add_argument)
    pull.add_argument(
        "--limit", metavar="SPEED", help="not faster than this, all together: 5MB/s, 500KB/s"
    )

    take = command(
        "import",
        "use a model that is not in the list",
        "Use any GGUF model that has a chat template: a file on this computer where it lies, or\n"
        "one from the hub or another server, downloaded. R1 merges and other quantizers' files are\n"
        "treated as R1; other models work with their own template.",
        "  localr1 import ~/Downloads/model-Q4_K_M.gguf\n"
        "  localr1 import hf:unsloth/DeepSeek-R1-Distill-Qwen-7B-GGUF\n"
        "  localr1 import https://example.org/model.gguf",
    )
    take.add_argument("source", metavar="FILE|URL|hf:REPO[/FILE]", help="what to import")
    take.add_argument(
        "--copy", action="store_true", help="copy the file into localr1's own folder of models"
    )

    remove = command(
        "rm",
        "delete a downloaded model",
        "Delete a model that localr1 downloaded. An imported file is only no longer listed, and\n"
        "files of other programs are left to those programs.",
    )
    remove.add_argument("model", metavar="MODEL[:VARIANT]", help=model)
    remove.add_argument(
        "--stopped", action="store_true", help="delete what has come of a stopped download"
    )

    verify = command(
        "verify",
        "check that a model's file is as it should be",
        "Read a model from the disk and compare its sha256 with what the hub, the catalogue or an\n"
        "earlier check said. A file that nobody vouches for gets its checksum recorded, so that a\n"
        "later change is found.",
        "  localr1 verify 7b\n  localr1 verify --all",
    )
    verify.add_argument("model", metavar="MODEL[:VARIANT]", nargs="?", help=model)
    verify.add_argument("--all", action="store_true", help="every model on this computer")
    _json(verify)

    move = command(
        "move",
        "move a downloaded model to another disk",
        "Copy a model to a folder, read the copy back and compare it, then use the copy and delete\n"
        "the old file. It can be stopped at any moment; the same command goes on.",
        "  localr1 move 14b /media/disk/models",
    )
    move.add_argument("model", metavar="MODEL[:VARIANT]", help=model)
    move.add_argument("directory", metavar="DIR", help="the folder on the other disk")

    bundle = command(
        "bundle",
        "carry models to a computer without a network",
        "Copy models, their catalogue and the settings to a folder, say on a USB disk, and take\n"
        "them in from there on another computer; everything is verified, and a copy that was\n"
        "stopped goes on. Files over 4 GB are split, so that a disk formatted as FAT32 will do.",
        "  localr1 bundle export /media/usb --model 7b\n  localr1 bundle import /media/usb",
    )
    bundle.add_argument("action", choices=("export", "import"))
    bundle.add_argument("directory", metavar="DIR", help="a folder, for example of a USB disk")
    bundle.add_argument(
        "--model",
        metavar="MODEL[:VARIANT]",
        action="append",
        default=[],
        help="with export: only this model; may be given several times (default: every model here)",
    )


def profile(add_argument: Callable[..., object], default: object = argparse.SUPPRESS) -> None:
    """Add the option by which another computer is planned for.

    Args:
        add_argument: Of a parser or a group.
        default: A command has none of its own: what stands before it counts.
    """
    add_argument(
        "--profile",
        metavar="FILE",
        default=default,
        help="plan for the computer that FILE describes, written by `localr1 machine --json`",
    )


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
