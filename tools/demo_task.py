"""What the demo model learns: the task's questions, thinking, answers and conversations.

The task is small and honest: add, subtract (negative results too) and compare two whole numbers
of up to four digits, column by column from the right, and say what it is when asked anything
else. Everything is drawn from a `random.Random`, so a seed fixes the data. Problems whose hash
falls into the held-out tenth are never drawn for training: they are the unseen ones.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass
from typing import Literal

Operation = Literal["+", "-", "?"]
MAX_DIGITS = 4

SELF_DESCRIPTION = (
    "I am the localr1 demo, a tiny model that shows how the app works. "
    "I can only add, subtract and compare two whole numbers of up to 4 digits, "
    "for example 347 + 589. For real questions, download a DeepSeek R1 model: "
    "`localr1 advise` shows which one fits this computer."
)
NOT_A_TASK = (
    "This is not adding, subtracting or comparing two whole numbers of up to 4 digits. "
    "I say what I am.\n"
)


@dataclass(frozen=True)
class Problem:
    """Two numbers and what to do with them."""

    operation: Operation
    first: int
    second: int


@dataclass(frozen=True)
class Turn:
    """A question with the ideal reply."""

    question: str
    steps: tuple[str, ...]
    """The thinking, line by line, each with its newline."""
    answer: str
    unfinished_answer: str
    """The answer when the thinking was ended before the last column."""
    enough_steps: int
    """How many steps must be complete for `answer` to be known."""


def is_held_out(problem: Problem) -> bool:
    """Whether a problem belongs to the tenth that training never sees."""
    key = f"{problem.operation} {problem.first} {problem.second}".encode()
    return zlib.crc32(key) % 10 == 0


def answer_of(problem: Problem) -> str:
    """The right one-line answer."""
    a, b = problem.first, problem.second
    if problem.operation == "+":
        return f"{a} + {b} = {a + b}"
    if problem.operation == "-":
        return f"{a} - {b} = {a - b}"
    if a == b:
        return f"{a} and {b} are equal."
    return f"{max(a, b)} is larger than {min(a, b)}."


def thinking_of(problem: Problem) -> tuple[str, ...]:
    """The column-by-column thinking, one line a step, the conclusion last."""
    a, b = problem.first, problem.second
    if problem.operation == "+":
        return (
            f"I add {a} and {b} column by column, from the right.\n",
            *_addition_columns(a, b),
            f"So {answer_of(problem)}\n",
        )
    if problem.operation == "?":
        return (
            f"I compare {a} and {b} column by column, from the right.\n",
            *_comparison_columns(a, b),
            f"So {answer_of(problem)}\n",
        )
    order = (
        f"{a} is less, so I take {a} from {b}, with a minus sign.\n"
        if a < b
        else f"I take {b} from {a}.\n"
    )
    return (
        f"I subtract {b} from {a}. First I compare them, from the right.\n",
        *_comparison_columns(a, b),
        order,
        *_subtraction_columns(max(a, b), min(a, b)),
        f"So {answer_of(problem)}\n",
    )


def turn_of(problem: Problem, question: str) -> Turn:
    """The ideal turn for a problem asked in the given words."""
    steps = thinking_of(problem)
    a, b = problem.first, problem.second
    unfinished = (
        f"I stopped thinking before I had compared {a} and {b}."
        if problem.operation == "?"
        else f"I stopped thinking before I had the result of {a} {problem.operation} {b}."
    )
    return Turn(question, steps, answer_of(problem), unfinished, len(steps) - 1)


def other_turn(question: str) -> Turn:
    """The ideal turn for anything that is not a problem."""
    return Turn(question, (NOT_A_TASK,), SELF_DESCRIPTION, SELF_DESCRIPTION, 0)


def _columns(a: int, b: int) -> list[tuple[int, int]]:
    width = max(len(str(a)), len(str(b)))
    digits = (str(n).zfill(width)[::-1] for n in (a, b))
    return [(int(x), int(y)) for x, y in zip(*digits, strict=True)]


def _addition_columns(a: int, b: int) -> list[str]:
    carry, lines = 0, []
    for x, y in _columns(a, b):
        total = x + y + carry
        lines.append(f"{x} + {y} + {carry} = {total}, write {total % 10}, carry {total // 10}\n")
        carry = total // 10
    lines.append(f"last carry {carry}\n")
    return lines


def _comparison_columns(a: int, b: int) -> list[str]:
    verdict, lines = "same", []
    for x, y in _columns(a, b):
        sign = "<" if x < y else ">" if x > y else "="
        verdict = {"<": "less", ">": "more", "=": verdict}[sign]
        lines.append(f"{x} {sign} {y}, {verdict}\n")
    return lines


def _subtraction_columns(larger: int, smaller: int) -> list[str]:
    borrow, lines = 0, []
    for x, y in _columns(larger, smaller):
        difference = x - y - borrow
        lines.append(
            f"{x} - {y} - {borrow} = {difference}, write {difference % 10}, "
            f"borrow {int(difference < 0)}\n"
        )
        borrow = int(difference < 0)
    return lines


# --- drawing problems -----------------------------------------------------------------------


def _number(rng: random.Random) -> int:
    digits = rng.choice((1, 2, 3, 3, 4, 4))
    kind = rng.random()
    if kind < 0.06:  # long carries and borrows
        return int("".join(rng.choice("099") for _ in range(digits)))
    if kind < 0.10:
        return int("1" + "0" * (digits - 1))
    return rng.randrange(10**digits)


def draw_problem(rng: random.Random, *, held_out: bool = False) -> Problem:
    """Draw a problem: from the unseen tenth when `held_out`, else from the rest."""
    while True:
        operation: Operation = rng.choice(("+", "-", "-", "?"))
        a, b = _number(rng), _number(rng)
        kind = rng.random()
        if kind < 0.05:
            b = a
        elif kind < 0.20:  # the same length, a shared beginning
            text = str(a)
            keep = rng.randrange(len(text))
            b = int(text[:keep] + "".join(rng.choice("0123456789") for _ in text[keep:]))
        problem = Problem(operation, a, b)
        if is_held_out(problem) == held_out:
            return problem


_ADD = (
    "What is {a} + {b}?",
    "{a} + {b}",
    "{a}+{b}",
    "{a} + {b} = ?",
    "{a} + {b} =",
    "{a}+{b}=?",
    "{a} + {b}?",
    "What's {a} + {b}?",
    "what is {a}+{b}",
    "What is {a} plus {b}?",
    "{a} plus {b}",
    "Add {a} and {b}.",
    "Add {a} and {b}",
    "Add {a} to {b}.",
    "Compute {a} + {b}.",
    "Calculate {a} + {b}",
    "How much is {a} + {b}?",
    "How much is {a} plus {b}?",
    "What is the sum of {a} and {b}?",
    "Sum of {a} and {b}",
    "the sum of {a} and {b}",
    "Can you add {a} and {b}?",
    "Please add {a} and {b}.",
    "Tell me what {a} + {b} is.",
    "Solve {a} + {b}",
    "Work out {a} + {b}.",
    "What does {a} + {b} equal?",
    "Evaluate {a} + {b}.",
    "What is {a} and {b} together?",
    "What do you get when you add {a} and {b}?",
)
_SUBTRACT = (
    "What is {a} - {b}?",
    "{a} - {b}",
    "{a}-{b}",
    "{a} - {b} = ?",
    "{a} - {b} =",
    "{a}-{b}=?",
    "{a} - {b}?",
    "What's {a} - {b}?",
    "what is {a}-{b}",
    "What is {a} minus {b}?",
    "{a} minus {b}",
    "Subtract {b} from {a}.",
    "Subtract {b} from {a}",
    "Take {b} from {a}.",
    "Take {b} away from {a}",
    "Compute {a} - {b}.",
    "Calculate {a} - {b}",
    "How much is {a} - {b}?",
    "How much is {a} minus {b}?",
    "Can you subtract {b} from {a}?",
    "Please subtract {b} from {a}.",
    "Tell me what {a} - {b} is.",
    "Solve {a} - {b}",
    "Work out {a} - {b}.",
    "What does {a} - {b} equal?",
    "Evaluate {a} - {b}.",
    "{a} \u2212 {b}",
    "What is {a} \u2212 {b}?",
    "{a} \u2013 {b}",
    "{a} take away {b}",
)
_COMPARE = (
    "Which is larger, {a} or {b}?",
    "Which is larger: {a} or {b}?",
    "Which is bigger, {a} or {b}?",
    "Which is greater, {a} or {b}?",
    "Which is smaller, {a} or {b}?",
    "Which is less, {a} or {b}?",
    "Which number is larger, {a} or {b}?",
    "Which number is bigger: {a} or {b}?",
    "Is {a} larger than {b}?",
    "Is {a} bigger than {b}?",
    "Is {a} greater than {b}?",
    "Is {a} smaller than {b}?",
    "Is {a} less than {b}?",
    "Compare {a} and {b}.",
    "Compare {a} and {b}",
    "Compare {a} with {b}",
    "compare {a} to {b}",
    "{a} or {b}?",
    "{a} > {b}?",
    "{a} < {b}?",
    "{a} > {b}",
    "{a} < {b}",
    "{a} or {b}, which is larger?",
    "{a} or {b}, which is bigger?",
    "Is {a} > {b}?",
    "Is {a} < {b}?",
    "{a} vs {b}",
    "What is larger, {a} or {b}?",
    "What is bigger, {a} or {b}?",
    "Is {a} equal to {b}?",
    "Are {a} and {b} equal?",
    "larger: {a} or {b}",
    "the larger of {a} and {b}",
)
_LEAD = (
    "", "", "", "", "", "", "", "", "Now ", "And ", "Then ", "Next: ", "Hi, ", "OK, ", "Please: ",
    "So, ", "Hello! ", "Hi! ", "Hey, ", "Quick question: ", "Solve this:\n\n", "And now: ",
)  # fmt: skip


def ask(problem: Problem, rng: random.Random, *, hard: bool = False) -> str:
    """Put a problem into words; when `hard`, now and then with stray spaces."""
    forms = {"+": _ADD, "-": _SUBTRACT, "?": _COMPARE}[problem.operation]
    # Half of the time the forms that people type most.
    form = (
        forms[0] if rng.random() < 0.12 else forms[1] if rng.random() < 0.14 else rng.choice(forms)
    )
    text = form.format(a=problem.first, b=problem.second)
    lead = rng.choice(_LEAD)
    if lead:
        text = lead + (text[0].lower() + text[1:])
    case = rng.random()
    if case < 0.12:
        text = text.lower()
    elif case < 0.14:
        text = text.upper()
    if hard and rng.random() < 0.03:
        text = text.replace(" ", " " * rng.randint(2, 3), rng.choice((1, -1)))
    if rng.random() < 0.03:
        text = text.rstrip("?.") + rng.choice(
            (" please", ", please", " please?", "!", " ?", ".", "??")
        )
    return text


# --- drawing anything else ------------------------------------------------------------------

_STARTS = (
    "Who are you?",
    "What are you?",
    "Hello",
    "Hi",
    "hi there",
    "Hello!",
    "Hey",
    "Good morning",
    "Thanks",
    "Thank you!",
    "What can you do?",
    "Help",
    "help me",
    "Tell me a joke.",
    "test",
    "?",
    "Are you DeepSeek R1?",
    "Which model are you?",
    "What model is this?",
    "Who made you?",
    "ok",
    "Explain yourself",
    "Can you think?",
    "Write a poem",
    "Sing",
    "yes",
    "no",
    "why?",
    "go on",
    "continue",
    "shorter",
    "in French",
    "What is your name?",
    "Are you a demo?",
    "bye",
)
_WORDS = [
    "the",
    "a",
    "an",
    "of",
    "in",
    "on",
    "for",
    "with",
    "from",
    "to",
    "and",
    "or",
    "not",
    "is",
    "are",
    "was",
    "do",
    "does",
    "can",
    "could",
    "should",
    "would",
    "my",
    "your",
    "our",
    "this",
    "that",
    "these",
    "what",
    "why",
    "how",
    "when",
    "where",
    "who",
    "which",
    "capital",
    "France",
    "city",
    "river",
    "mountain",
    "poem",
    "story",
    "code",
    "function",
    "python",
    "list",
    "sort",
    "file",
    "write",
    "read",
    "explain",
    "tell",
    "give",
    "make",
    "find",
    "show",
    "prove",
    "theorem",
    "prime",
    "number",
    "integer",
    "triangle",
    "circle",
    "square",
    "root",
    "area",
    "sum",
    "product",
    "matrix",
    "integral",
    "derivative",
    "equation",
    "solve",
    "light",
    "speed",
    "moon",
    "sun",
    "earth",
    "water",
    "iron",
    "gold",
    "cat",
    "dog",
    "horse",
    "bird",
    "tree",
    "house",
    "car",
    "train",
    "bread",
    "milk",
    "tea",
    "coffee",
    "music",
    "song",
    "color",
    "red",
    "blue",
    "green",
    "history",
    "king",
    "queen",
    "war",
    "peace",
    "love",
    "time",
    "day",
    "week",
    "month",
    "year",
    "night",
    "morning",
    "summer",
    "winter",
    "world",
    "people",
    "child",
    "friend",
    "book",
    "letter",
    "word",
    "sentence",
    "language",
    "translate",
    "French",
    "German",
    "Spanish",
    "English",
    "Chinese",
    "good",
    "bad",
    "big",
    "small",
    "fast",
    "slow",
    "new",
    "old",
    "best",
    "first",
    "last",
    "next",
    "many",
    "much",
    "more",
    "less",
    "than",
    "about",
    "between",
    "under",
    "over",
    "before",
    "after",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "twenty",
    "thirty",
    "hundred",
    "thousand",
    "plus",
    "minus",
    "add",
    "subtract",
    "compare",
    "larger",
    "smaller",
    "greater",
    "strawberry",
    "letters",
    "days",
    "minutes",
    "hours",
    "population",
    "weather",
    "recipe",
    "soup",
    "cake",
    "email",
    "summary",
    "essay",
]
_CODE = (
    "def f(x):\n    return x",
    "for (int i = 0; i < n; i++) {}",
    "SELECT * FROM t;",
    "<html></html>",
    "print('hi')",
    "x = y",
    "import os",
    "git status",
    "ls -la",
    '{"a": []}',
    "if x: pass",
    "1;",
)
_SCRIPTS = (
    (0x61, 0x7B), (0xE0, 0xFF), (0x400, 0x450), (0x4E00, 0x4F00), (0x3040, 0x3090),
    (0x600, 0x650), (0x1F600, 0x1F640), (0x5D0, 0x5EA), (0x3B1, 0x3C9), (0xAC00, 0xAD00),
)  # fmt: skip
_UNSUPPORTED = (
    "What is {a} * {b}?", "{a} * {b}", "{a} x {b}", "{a} times {b}", "{a} / {b}", "{a} divided by {b}",
    "{a} + {b} + {c}", "{a} - {b} + {c}", "{a} + {b} - {c}", "What is {a} + {b} * {c}?",
    "{a} ^ {b}", "{a}.{b} + {c}", "{a} + {b}.{c}", "Which is larger, {a}.{b} or {a}.{c}?",
    "{a}.{b}", "-{a} + {b}", "-{a} - {b}", "{a} + -{b}", "{a} - (-{b})", "({a} + {b}) * {c}",
    "What is {a}?", "{a}", "{a} {b}", "{a}, {b}, {c}", "{a} % {b}", "{a}% of {b}", "sqrt({a})",
    "{big} + {b}", "{a} + {big}", "{big} - {b}", "{a} - {big}", "What is {big} + {big}?",
    "Which is larger, {big} or {b}?", "{big}", "Compare {a} and {big}", "{a}! + {b}",
    "What is {a} multiplied by {b}?", "Is {a} prime?", "Factor {a}", "Count to {a}", "{a} +",
    "+ {a}", "{a} - ", "{a} + x", "x + {b} = {a}", "{a}:{b}", "${a} + ${b}", "{a} = {b}",
    "Which is larger, {a}, {b} or {c}?", "Sort {a}, {b} and {c}", "0{a} + {b}", "{a} + 0{b}",
    "1,{c3} + {b}", "{a} + 1,{c3}", "{a} + {b} = {c}", "Is {a} + {b} = {c}?", "{a} + {w}", "{w} - {b}",
    "{a} + {b} and {c} + {a}", "{a} + {b}, {a} - {b}", "{a}{w}", "{a} - {b}%", "{a}e{b}", "{a} & {b}",
    "1/{a} + 1/{b}", "{a}/{b} + {c}", "log {a}", "{a} days from now", "the year {a}",
    "{w} {a} {w} {b} {w}", "{w} {w} {a}", "{a} {w} + {b} {w}", "How many {w} in {a} {w}?",
)  # fmt: skip


def _expression(rng: random.Random) -> str:
    """Arithmetic that looks like a problem and is none: three or more terms, other operators."""
    terms = rng.choice((2, 3, 3, 3, 4))
    operators = [rng.choice("++--*/") for _ in range(terms - 1)]
    if terms == 2:
        operators = [rng.choice("*/^%x")]
    numbers = [str(_number(rng)) for _ in range(terms)]
    if terms == 2 and rng.random() < 0.5:  # a supported operator, an unsupported number
        operators = [rng.choice("+-")]
        spoilt = rng.randrange(2)
        numbers[spoilt] = rng.choice(
            (f"0{numbers[spoilt]}", f"{numbers[spoilt]}.{rng.randrange(100)}",
             str(rng.randrange(10**4, 10**7)), f"(-{numbers[spoilt]})")
        )  # fmt: skip
    gap = rng.choice((" ", " ", " ", ""))
    text = numbers[0] + "".join(
        f"{gap}{o}{gap}{n}" for o, n in zip(operators, numbers[1:], strict=True)
    )
    form = rng.choice(("{}", "{}", "{} = ?", "What is {}?", "What is {}?", "Compute {}.", "{}?",
                       "How much is {}?", "what's {}", "Calculate {}"))  # fmt: skip
    return rng.choice(_LEAD) + form.format(text)


def other_question(rng: random.Random, *, hard: bool = False) -> str:
    """Draw a question that is not a problem: words, other tongues, code, other arithmetic.

    When `hard`, more of what only looks like a problem.
    """
    if hard and rng.random() < 0.25:
        return _expression(rng)
    kind = rng.random()
    if kind < 0.18:
        text = rng.choice(_STARTS)
    elif kind < 0.50:
        words = [rng.choice(_WORDS) for _ in range(rng.randint(1, 14))]
        text = " ".join(words) + rng.choice(("", "", ".", "?", "?", "!"))
        if rng.random() < 0.6:
            text = text[0].upper() + text[1:]
    elif kind < 0.80:
        text = rng.choice(_UNSUPPORTED).format(
            a=_number(rng), b=_number(rng), c=_number(rng), w=rng.choice(_WORDS),
            c3=f"{rng.randrange(1000):03}",
            big=rng.randrange(10**4, 10 ** rng.randint(5, 8)),
        )  # fmt: skip
    elif kind < 0.86:
        text = rng.choice(_CODE)
    elif kind < 0.94:
        low, high = rng.choice(_SCRIPTS)
        text = "".join(chr(rng.randrange(low, high)) for _ in range(rng.randint(1, 16)))
        if rng.random() < 0.5:
            text = text[: len(text) // 2] + " " + text[len(text) // 2 :]
    else:
        text = "".join(chr(rng.randrange(32, 127)) for _ in range(rng.randint(1, 24)))
        text = text.strip() or "..."
    if rng.random() < 0.08:
        text = text.lower()
    return text


# --- drawing whole examples -----------------------------------------------------------------


@dataclass(frozen=True)
class Example:
    """One training example: what is given, and the turn the model is to write."""

    history: tuple[tuple[str, str], ...]
    """Earlier turns: question, answer (thinking stripped)."""
    system: str
    turn: Turn
    cut_fraction: float | None
    """Where the engine ends the thinking, as a share of its tokens; None: it runs to its end."""


def draw_turn(rng: random.Random, *, held_out: bool = False, hard: bool = False) -> Turn:
    """Draw one turn: mostly problems, some of anything else."""
    if rng.random() < 0.22:
        return other_turn(other_question(rng, hard=hard))
    problem = draw_problem(rng, held_out=held_out)
    return turn_of(problem, ask(problem, rng, hard=hard))


@dataclass(frozen=True)
class Mix:
    """How examples of a stage of the training are shared out."""

    alone: float
    """Share of questions without a history; the next three are of longer and longer ones,
    each counted together with those before it."""
    short: float
    medium: float
    cut: float
    """Share whose thinking the engine ends early."""
    hard: bool
    """Whether questions have stray spaces, and more others look like problems."""


FIRST_STAGE = Mix(alone=0.55, short=0.76, medium=0.97, cut=0.16, hard=False)
SECOND_STAGE = Mix(alone=0.40, short=0.55, medium=0.90, cut=0.25, hard=True)
"""What the first stage leaves weak: long conversations, early ends, near misses."""


def _history_length(rng: random.Random, mix: Mix) -> int:
    kind = rng.random()
    if kind < mix.alone:
        return 0
    if kind < mix.short:
        return rng.randint(1, 3)
    if kind < mix.medium:
        return rng.randint(4, 12)
    return rng.randint(12, 28)


def _past_exchange(rng: random.Random, mix: Mix, length: int) -> tuple[str, str]:
    past = draw_turn(rng, hard=mix.hard)
    answer = past.answer
    if answer == SELF_DESCRIPTION and length > 4 and rng.random() < 0.8:
        problem = draw_problem(rng)
        past = turn_of(problem, ask(problem, rng, hard=mix.hard))
        answer = past.answer
    state = rng.random()
    if state < 0.04:  # the thinking was ended early
        answer = past.unfinished_answer
    elif state < 0.07:  # the answer was stopped by the user
        answer = answer[: rng.randrange(len(answer))]
    return past.question, answer


def _cut_fraction(rng: random.Random, mix: Mix) -> float | None:
    if rng.random() >= mix.cut:
        return None
    if mix.hard and rng.random() < 0.2:  # before the problem has been said in full
        return 0.15 * rng.random()
    cut = 0.0 if rng.random() < 0.15 else rng.random()
    if rng.random() < 0.35:  # around the last column
        cut = 1.0 - 0.25 * rng.random()
    return cut


def draw_example(rng: random.Random, mix: Mix = FIRST_STAGE) -> Example:
    """Draw one training example."""
    length = _history_length(rng, mix)
    history = tuple(_past_exchange(rng, mix, length) for _ in range(length))
    system = ""
    if rng.random() < 0.04:
        system = " ".join(rng.choice(_WORDS) for _ in range(rng.randint(2, 12))) + "."
    cut = _cut_fraction(rng, mix)
    return Example(history, system, draw_turn(rng, hard=mix.hard), cut)
