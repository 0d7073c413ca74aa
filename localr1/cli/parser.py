"""The command line's grammar. Nothing heavy is imported here: `--help` must be instant."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from localr1 import __version__
from localr1.cli import parser_history, parser_library, parser_talk

_SIZES = "Sizes: 24G and 24GiB are 2^30, 24GB is 10^9."
_MODEL = "a catalogue id (r1-distill-qwen-7b, demo), an unambiguous part (7b), or a .gguf file"


def build() -> argparse.ArgumentParser:
    """The parser of the whole command line; `command` is the chosen command or None."""
    shared = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    shared.add_argument(
        "--offline",
        action="store_true",
        help="never use the network; what is not here fails with exit code 4",
    )
    parser = argparse.ArgumentParser(
        prog="localr1",
        parents=[shared],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "A private DeepSeek R1 machine in your terminal: see which R1 fits this computer\n"
            "and how long an answer takes, download it once, chat offline.\n\n"
            "Without a command, the app opens: machine, advice, download, chat; later runs go\n"
            "straight to the chat."
        ),
        epilog=(
            "examples:\n"
            "  localr1                                      open the app\n"
            "  localr1 advise                               what fits here, and how fast\n"
            "  localr1 advise --gpu 'RTX 4090' --ram 64G    what would fit there\n"
            "  localr1 pull 7b                              download the 7B distill\n"
            '  localr1 ask "What is 347 + 589?" --model demo\n\n'
            "exit codes: 0 fine, 1 failed, 2 wrong usage, 3 nothing fits,\n"
            "            4 offline and not here, 130 interrupted"
        ),
    )
    parser_library.profile(parser.add_argument, default=None)
    parser.add_argument("--version", action="version", version=f"localr1 {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(
        name: str, summary: str, description: str, examples: str = ""
    ) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            parents=[shared],
            help=summary,
            description=description,
            epilog=f"examples:\n{examples}" if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    advise = command(
        "advise",
        "which R1 fits this computer, ranked",
        "Rank every R1 model and quantization for this computer: whether it fits, the memory it\n"
        "needs, how fast it runs, how long an answer takes, and why. The what-if options ask the\n"
        f"same for another computer. {_SIZES}",
        "  localr1 advise\n"
        "  localr1 advise --goal fast --context 8192\n"
        "  localr1 advise --gpu 'RTX 3090 x2' --ram 64G\n"
        "  localr1 machine --json > desk.json; localr1 advise --profile desk.json",
    )
    _json(advise)
    _what_if(advise, pool=True)
    advise.add_argument("--context", type=_positive, metavar="N", help="context window in tokens")
    advise.add_argument(
        "--goal",
        choices=("best", "balanced", "fast"),
        help="rank by quality, by both, or by speed (default: balanced, or your setting)",
    )
    advise.add_argument(
        "--all", action="store_true", help="every variant, not the best of each model"
    )

    estimate = command(
        "estimate",
        "what one model takes, and how fast it runs",
        "Show the memory that a model needs on each device, part by part, and how fast it is\n"
        "expected to run. With --exact llama.cpp itself is asked, and the hub for the header of\n"
        f"a file that is not here; without it nothing leaves this computer. {_SIZES}",
        "  localr1 estimate 7b\n"
        "  localr1 estimate 32b:Q4_K_M --context 32768 --kv q8_0 --gpu 'RTX 4090'\n"
        "  localr1 estimate ~/models/R1-Distill-Qwen-7B-Q4_K_M.gguf --exact\n"
        "  localr1 estimate bartowski/DeepSeek-R1-Distill-Qwen-7B-GGUF/"
        "DeepSeek-R1-Distill-Qwen-7B-Q8_0.gguf",
    )
    estimate.add_argument(
        "model", metavar="MODEL|FILE|REPO/FILE", help=f"{_MODEL}, or a file on the hub"
    )
    estimate.add_argument("--context", type=_positive, metavar="N", help="context window in tokens")
    estimate.add_argument("--kv", choices=("f16", "q8_0", "q4_0"), help="type of the KV cache")
    estimate.add_argument(
        "--gpu-layers",
        type=_count,
        metavar="N",
        help="layers on the GPUs; the output counts as one",
    )
    estimate.add_argument(
        "--exact", action="store_true", help="ask llama.cpp what it would take, without loading"
    )
    _json(estimate)
    _what_if(estimate)

    machine = command(
        "machine",
        "what this computer has, and what llama.cpp can use of it",
        "Show what was detected: CPU, memory, GPUs, and the devices that the installed llama.cpp\n"
        "lists itself. With --json the same as data, without any name or serial number: fit for\n"
        "bug reports, and for `--profile`.",
    )
    _json(machine)
    _what_if(machine)

    parser_library.add(command, _MODEL)

    parser_talk.add(command, _MODEL)

    ask = command(
        "ask",
        "one question, one answer, for pipes and scripts",
        "Ask one question: the answer goes to stdout, the thinking to stderr. Standard input is\n"
        "appended to the question; @FILE puts a text file before it. A reply cut by length\n"
        "exits 0 with a note on stderr.",
        '  localr1 ask "What is 347 + 589?" --model demo\n'
        '  echo "12 + 30" | localr1 ask --model demo\n'
        '  localr1 ask --thinking 2000 "Why is the sky blue?" @notes.txt\n'
        '  localr1 ask --json "Is 91 prime?" | jq -r .answer\n'
        '  localr1 ask --schema person.json "Who wrote Faust?" | jq .name',
    )
    ask.add_argument(
        "prompt", nargs="*", metavar="PROMPT", help="the question; @FILE attaches a text file"
    )
    parser_talk.whose_model(ask, _MODEL)
    ask.add_argument(
        "--thinking",
        default="show",
        metavar="show|hide|none|N|Ns",
        help="show thinking on stderr (default), hide it, allow none, or end it after N tokens or Ns seconds",
    )
    ask.add_argument(
        "--system",
        default="",
        metavar="TEXT",
        help="a system prompt (R1's makers advise against one; R1-0528 supports it)",
    )
    ask.add_argument(
        "--seed", type=_seed, metavar="N", help="for a repeatable answer (default: random)"
    )
    ask.add_argument(
        "--temperature",
        type=_temperature,
        metavar="X",
        help="0 takes the likeliest token (default: the model's own, 0.6)",
    )
    ask.add_argument(
        "--max-tokens",
        type=_positive,
        default=0,
        metavar="N",
        help="longest reply, thinking included",
    )
    ask.add_argument("--context", type=_positive, metavar="N", help="context window in tokens")
    ask.add_argument(
        "--schema",
        metavar="FILE",
        help="hold the answer to a JSON schema, after free thinking; cut short, it exits 1",
    )
    _json(ask)

    bench = command(
        "bench",
        "measure this computer with a model",
        "Load a model as it would be for a chat, and measure how fast it reads prompts and\n"
        "generates with several numbers of threads; about a minute. The fastest is used from then\n"
        "on for models of about that size. With --profile the plan and the prediction are those\n"
        "of the profile's computer; what is measured is this one, and nothing is remembered.",
        "  localr1 bench\n  localr1 bench 7b --json",
    )
    bench.add_argument(
        "model", metavar="MODEL[:VARIANT]", nargs="?", help=f"{_MODEL}; default: the one last used"
    )
    parser_library.profile(bench.add_argument)
    _json(bench)

    doctor = command(
        "doctor",
        "what is wrong, and how to mend it",
        "Check everything localr1 needs: the engine and its build, GPUs, disk, settings,\n"
        "terminal. Each finding names its remedy; the exit code is 1 when one needs you.\n\n"
        "With --fix the engine is replaced by the build for this computer, or by the one\n"
        "that you name. The new one is made and tried beside the old one, which stays if\n"
        "the new one does not work. With --profile the engine and GPUs of the profile's\n"
        "computer are looked at; mending is only for this one.",
        "  localr1 doctor\n"
        "  localr1 doctor --fix\n"
        "  localr1 doctor --fix rpc          use other computers' memory, too\n"
        "  localr1 doctor --fix --source llama_cpp_python-0.3.36.tar.gz",
    )
    _fixing(doctor)
    _json(doctor)

    parser_history.add(command)

    completion = command(
        "completion",
        "Tab completion for bash, zsh, fish and PowerShell",
        "Print a script that lets a shell complete localr1's commands, options and models. Its first\n"
        "lines say where it goes.",
        '  eval "$(localr1 completion bash)"\n'
        '  eval "$(localr1 completion zsh)"\n'
        "  localr1 completion fish | source\n"
        "  localr1 completion powershell | Out-String | Invoke-Expression",
    )
    completion.add_argument(
        "shell",
        choices=("bash", "zsh", "fish", "powershell", "words"),
        metavar="bash|zsh|fish|powershell",
    )
    # What the scripts ask with.
    completion.add_argument("--line", default="localr1 ", help=argparse.SUPPRESS)
    completion.add_argument("--cut", action="store_true", help=argparse.SUPPRESS)
    return parser


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse arguments; `ask` takes the words of its question between options too."""
    parser = build()
    arguments, rest = parser.parse_known_args(argv)
    if rest:
        if arguments.command != "ask" or any(word.startswith("-") for word in rest):
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        arguments.prompt += rest
    return arguments


def _fixing(doctor: argparse.ArgumentParser) -> None:
    doctor.add_argument(
        "--fix",
        nargs="?",
        const="best",
        choices=("best", "cpu", "cuda", "rocm", "vulkan", "metal", "rpc"),
        metavar="BUILD",
        help="replace the engine by the build for this computer, or by: cpu, cuda, rocm, vulkan,"
        " metal, rpc",
    )
    doctor.add_argument(
        "--source",
        metavar="PATH",
        help="with --fix: build from this archive or folder of llama-cpp-python, or take this"
        " wheel; with --offline what its build needs lies beside it, as wheels",
    )
    parser_library.profile(doctor.add_argument)
    doctor.add_argument("--hub", action="store_true", help="ask whether the hub answers, too")


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def _what_if(parser: argparse.ArgumentParser, *, pool: bool = False) -> None:
    group = parser.add_argument_group("what-if")
    group.add_argument("--ram", metavar="SIZE", help="as if the computer had this much memory")
    group.add_argument(
        "--gpu", metavar='"NAME[ xN]"', help="as if it had this GPU, N times; `none` for no GPU"
    )
    group.add_argument("--gpu-memory", metavar="SIZE", help="memory of each such GPU")
    parser_library.profile(group.add_argument)
    if pool:
        parser_talk.pool(parser)


def _whole(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} on")
    return value


def _positive(text: str) -> int:
    return _whole(text, 1)


def _count(text: str) -> int:
    return _whole(text, 0)


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError("a seed is a whole number from 0 to 4294967295")
    return value


def _temperature(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 5:
        raise argparse.ArgumentTypeError("a temperature is a number from 0 to 5")
    return value
