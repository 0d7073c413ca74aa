"""Running a model file's own chat template: untrusted code, on a budget.

A template is a Jinja program that somebody put into a file. Jinja's sandbox keeps it away from
Python and from everything that it could change; what is left is to waste time and memory. Here
every loop turn, call and filter is a step, every text or list that is made costs its length, and
all of it together has a deadline; whatever can make much out of little (powers, widths, repeated
text) is paid for before it is done, or is not there.

Imports jinja2: load it only when a file's own template is used.
"""

from __future__ import annotations

import json
import re
import string
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import update_wrapper
from typing import Any, Final, NoReturn

from jinja2.exceptions import SecurityError, TemplateError
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from localr1.chat.metering import Generation, Metered

LONGEST_TEMPLATE: Final = 128 * 1024
"""In characters; the longest that are in use have about 20,000."""
_STEPS: Final = 200_000
_SIZE: Final = 16 * 2**20
_SECONDS: Final = 2.0
_SECONDS_PER_CHARACTER: Final = 5e-6
_BYTES_OF_AN_ITEM: Final = 8
_LONGEST_RANGE: Final = 10_000
_LONGEST_NUMBER_BITS: Final = 256

_FILTERS: Final = (
    "abs capitalize count d default dictsort escape e first float int items last length list lower"
    " map max min reject rejectattr reverse round select selectattr sort title trim unique upper"
)
_TEXT_METHODS: Final = (
    "capitalize count endswith find index isalnum isalpha isascii isdecimal isdigit islower"
    " isnumeric isspace istitle isupper lower lstrip partition removeprefix removesuffix rfind"
    " rindex rpartition rsplit rstrip split splitlines startswith strip title upper"
)
_CASES: Final = frozenset({"capitalize", "lower", "title", "upper"})
# A width or precision makes much out of little.
_WIDE_FORMAT: Final = re.compile(r"%[^%a-zA-Z]*[\d*]")


class Refused(TemplateError):
    """The template itself says that it cannot write this conversation."""


class OutOfBudget(TemplateError):
    """The template takes too long or writes too much."""


class Sandbox(ImmutableSandboxedEnvironment):
    """One template, compiled at construction.

    Args:
        source: The template.
        reveal: The plain text of a text whose contents were made opaque; `hide` its inverse.
        hide: Makes a text opaque.
        now: What `strftime_now` tells.

    Raises:
        Exception: jinja2's or Python's own when the template is wrong or refused.
    """

    intercepted_binops = frozenset({"+", "*", "%", "**"})

    def __init__(
        self, source: str, reveal: Callable[[str], str], hide: Callable[[str], str], now: datetime
    ) -> None:
        # The settings of Hugging Face's apply_chat_template, which templates are written for.
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols", Generation],
            finalize=self._finalized,
        )
        self._reveal, self._hide = reveal, hide
        self._steps_left, self._size_left, self._deadline = _STEPS, _SIZE, 0.0
        self.filters = {name: self._metered(self.filters[name]) for name in _FILTERS.split()}
        own: dict[str, Callable[..., Any]] = {
            "indent": self._indented,
            "join": self._join,
            "replace": self._replaced,
            "safe": lambda text: text,
            "string": self._text,
            "tojson": self._json,
        }
        self.filters |= {name: self._metered(function) for name, function in own.items()}
        for name in _CASES:
            self.filters[name] = lambda text, case=name: self._case(self._text(text), case)
        self.tests = {name: self._metered(test) for name, test in self.tests.items()}
        self.globals = {
            "range": self._range,
            "dict": dict,
            "namespace": self.globals["namespace"],
            "raise_exception": _refuse,
            "strftime_now": lambda pattern: now.strftime(str(pattern)[:100]),
        }
        self._begin()
        if len(source) > LONGEST_TEMPLATE:
            raise OutOfBudget(f"it has {len(source):,} characters")
        tree = Metered().visit(self.parse(source))
        self._template = self.from_string(tree)

    def render(self, variables: Mapping[str, Any], input_length: int) -> str:
        """What the template writes.

        Args:
            variables: What it may read.
            input_length: Characters of all contents: long conversations may cost more.

        Raises:
            Exception: As at construction.
        """
        self._begin(input_length)
        return self._template.render(variables)

    # --- the budget -------------------------------------------------------------------------

    def _begin(self, input_length: int = 0) -> None:
        self._steps_left = _STEPS
        self._size_left = _SIZE + 64 * input_length
        self._deadline = time.monotonic() + _SECONDS + _SECONDS_PER_CHARACTER * input_length

    def _spend(self, size: int) -> None:
        self._steps_left -= 1
        self._size_left -= size
        if self._steps_left < 0 or self._size_left < 0 or time.monotonic() > self._deadline:
            raise OutOfBudget("it takes too long or writes too much")

    def _weigh(self, value: object, *, as_text: bool) -> None:
        """Pay for walking a value: lists that hold the same list twice grow without bound."""
        stack = [value]
        while stack:
            item = stack.pop()
            if isinstance(item, Mapping):
                self._spend(2 * len(item))
                stack += [*item.keys(), *item.values()]
            elif isinstance(item, list | tuple | set | frozenset):
                self._spend(2 * len(item))
                stack += item
            elif as_text and isinstance(item, str):
                self._spend(2 * len(item))

    def _metered(self, function: Any) -> Callable[..., Any]:
        def metered(*arguments: Any, **named: Any) -> Any:
            self._spend(0)
            for argument in (*arguments, *named.values()):
                if isinstance(argument, list | tuple | dict):
                    self._weigh(argument, as_text=False)
            return self.paid(function(*arguments, **named))

        # jinja2 marks functions that want the context by an attribute.
        return update_wrapper(metered, function)

    # --- what compiled templates call -------------------------------------------------------

    def counted(self, items: Iterable[Any]) -> Iterator[Any]:
        """The items, each a step."""
        for item in items:
            self._spend(0)
            yield item

    def paid(self, value: Any) -> Any:
        """The value, paid for by its length."""
        if isinstance(value, Iterator):
            return self.counted(value)
        if isinstance(value, str):
            self._spend(len(value))
        elif isinstance(value, list | tuple | dict):
            self._spend(_BYTES_OF_AN_ITEM * len(value))
        return value

    def joined(self, *parts: Any) -> str:
        """Jinja's `~`."""
        return self.concat(self._text(part) for part in parts)

    def comparable(self, value: Any) -> Any:
        """The value, paid for as far as comparing it costs."""
        if isinstance(value, list | tuple | dict):
            self._weigh(value, as_text=False)
        return value

    def key(self, value: Any) -> Any:
        """The value, if it may be a key."""
        if not isinstance(value, str | int | float | None):
            raise SecurityError("it uses a list as a key")
        return value

    def concat(self, parts: Iterable[str]) -> str:
        """Join text: the output, and that of macros and blocks."""
        kept = []
        for part in parts:
            self._spend(len(part))
            kept.append(part)
        return "".join(kept)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """As in the sandbox; lists are no keys."""
        if isinstance(argument, list | tuple | dict):
            raise SecurityError("it uses a list as a key")
        return super().getitem(obj, argument)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Arithmetic, paid for in advance."""
        if operator == "**":
            raise SecurityError("it uses powers")
        if operator == "%" and isinstance(left, str):
            if _WIDE_FORMAT.search(left):
                raise SecurityError("it formats text with a width")
            self._weigh(right, as_text=True)
            self._spend(len(left))
        elif operator == "*":
            self._spend(_times(left, right))
        else:
            self._spend(_length(left) + _length(right))
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805, PYI063
        """A function, macro or method, as a step."""
        self, function = __self, getattr(__obj, "__wrapped__", __obj)
        self._spend(0)
        owner = getattr(function, "__self__", None)
        if isinstance(owner, str):
            # jinja2 passes names with an underscore on to functions that want the context.
            named = {name: value for name, value in kwargs.items() if not name.startswith("_")}
            return self.paid(self._text_method(owner, function.__name__, args, named))
        if not isinstance(owner, Sandbox):
            self._weigh([*args, *kwargs.values()], as_text=False)
        return self.paid(super().call(__context, __obj, *args, **kwargs))

    # --- text -------------------------------------------------------------------------------

    def _finalized(self, value: Any) -> Any:
        return value if isinstance(value, str) else self._text(value)

    def _text(self, value: Any) -> str:
        if isinstance(value, str):
            return str(value)
        if not isinstance(value, Undefined):
            self._weigh(value, as_text=True)
        return str(value)

    def _text_method(
        self, text: str, name: str, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:
        if name == "replace":
            return self._replaced(text, *arguments)
        if name == "join":
            return self._join(arguments[0], text)
        if name == "format":
            return self._formatted(text, arguments, named)
        if name in _CASES:
            return self._case(text, name)
        if name not in _TEXT_METHODS.split():
            raise SecurityError(f"it uses the method {name!r:.40}")
        self._spend(len(text))
        return getattr(text, name)(*arguments, **named)

    def _case(self, text: str, name: str) -> str:
        self._spend(3 * len(text))
        return self._on_words(text, lambda plain: str(getattr(plain, name)()))

    def _replaced(self, text: Any, old: Any, new: Any, count: int | None = None) -> str:
        text, old, new = self._text(text), self._text(old), self._text(new)
        self._spend(len(text) + (len(text) // max(1, len(old)) + 1) * len(new))
        many = -1 if count is None else int(count)
        return self._on_words(text, lambda plain: plain.replace(old, new, many))

    def _on_words(self, text: str, change: Callable[[str], str]) -> str:
        """Change opaque words as if they could be read; the result is nobody's markup."""
        plain = self._reveal(text)
        opaque = plain != text and self._hide(plain) == text
        return self._hide(change(plain)) if opaque else change(text)

    def _join(self, items: Any, between: Any = "", attribute: Any = None) -> str:
        if attribute is not None:
            items = [self.getitem(item, attribute) for item in self.counted(items)]
        parts = [self._text(item) for item in self.counted(items)]
        glue = self._text(between)
        self._spend(sum(map(len, parts)) + len(glue) * len(parts))
        return glue.join(parts)

    def _indented(self, text: Any, width: Any = 4, first: bool = False, blank: bool = False) -> str:
        margin = width if isinstance(width, str) else " " * min(int(width), 100)
        lines = self._text(text).splitlines()
        self._spend(sum(map(len, lines)) + len(lines) * (len(margin) + 1))
        done = [margin + s if (i or first) and (s or blank) else s for i, s in enumerate(lines)]
        return "\n".join(done)

    def _formatted(self, text: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> str:
        self._spend(len(text))
        fields = 0
        for _, field, specification, conversion in string.Formatter().parse(text):
            fields += field is not None
            if specification or conversion or not re.fullmatch(r"\w*", field or ""):
                raise SecurityError("it formats text with a width")
        words = [self._text(value) for value in arguments]
        named_words = {name: self._text(value) for name, value in named.items()}
        self._spend(fields * max(map(len, [*words, *named_words.values(), ""])))
        return text.format(*words, **named_words)

    def _json(self, value: Any, indent: int | None = None, **named: Any) -> str:
        if isinstance(value, Undefined):
            raise SecurityError(f"{value._undefined_name!r:.40} is undefined")  # noqa: SLF001
        self._weigh(value, as_text=True)
        width = None if indent is None else min(int(indent), 16)
        hidden = False

        def plain(item: Any) -> Any:
            nonlocal hidden
            if isinstance(item, str):
                hidden = hidden or self._reveal(item) != item
                return self._reveal(item)
            if isinstance(item, Mapping):
                return {plain(name): plain(inner) for name, inner in item.items()}
            return [plain(inner) for inner in item] if isinstance(item, list | tuple) else item

        named = {key: named[key] for key in ("separators", "sort_keys") if key in named}
        text = json.dumps(plain(value), ensure_ascii=False, indent=width, **named)
        return self._hide(text) if hidden else text

    def _range(self, *arguments: int) -> range:
        numbers = range(*arguments)
        if len(numbers) > _LONGEST_RANGE:
            raise OutOfBudget(f"it counts to more than {_LONGEST_RANGE:,}")
        return numbers


def _refuse(message: object = "") -> NoReturn:
    raise Refused(str(message)[:200])


def _length(value: object) -> int:
    return len(value) if isinstance(value, str | list | tuple) else 0


def _times(left: object, right: object) -> int:
    for many, few in ((left, right), (right, left)):
        if isinstance(many, str | list | tuple) and isinstance(few, int):
            return len(many) * max(few, 0)
    bits = sum(v.bit_length() for v in (left, right) if isinstance(v, int))
    if bits > _LONGEST_NUMBER_BITS:
        raise SecurityError("it uses huge numbers")
    return 0
