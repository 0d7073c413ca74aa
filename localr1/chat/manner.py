"""How one conversation is held: a system prompt, words added to questions, sampling."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final

from localr1.models.types import Model

SYSTEM_REASON: Final = (
    "R1's makers advise against a system prompt: everything belongs into the question."
)
"""deepseek-ai/DeepSeek-R1, README, "Usage Recommendations"; R1-0528 lifts it."""
LOWEST_TEMPERATURE: Final = 0.5
HIGHEST_TEMPERATURE: Final = 0.7
"""The range of the same recommendations; 0.6 is the best of it."""


@dataclass(frozen=True)
class Preset:
    """Words that are put behind every question of a kind of work."""

    id: str
    label: str
    words: str


PRESETS: Final = (
    Preset("", "Nothing added", ""),
    # Word for word the makers' own recommendation; the others are ours, in the place that they
    # recommend: the question.
    Preset(
        "mathematics",
        "Mathematics",
        "Please reason step by step, and put your final answer within \\boxed{}.",
    ),
    Preset(
        "code",
        "Code",
        "Give complete code that runs as it is, one code block with its language for each file, "
        "and only then a short explanation.",
    ),
    Preset(
        "writing",
        "Writing",
        "Write the text out in full, in the language of my request, and do not explain how you "
        "wrote it.",
    ),
    Preset(
        "translation",
        "Translation",
        "Translate all of it and nothing else; keep names, numbers and the layout.",
    ),
)


@dataclass(frozen=True)
class Manner:
    """What the user chose for a conversation; None leaves it to the model's recommendation."""

    system: str = ""
    preset: str = ""
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    leave_out_oldest: bool = False
    """Whether the oldest messages are left out without asking when the window is full."""

    def question(self, text: str) -> str:
        """A question with the preset's words behind it, unless they are there."""
        words = next((each.words for each in PRESETS if each.id == self.preset), "")
        return text if not words or words in text else f"{text.rstrip()}\n\n{words}"

    def warnings(self, model: Model) -> tuple[str, ...]:
        """What the makers of the model advise against; a pure function."""
        found: list[str] = []
        temperature, advised = self.temperature, model.sampling
        if temperature is not None and temperature < LOWEST_TEMPERATURE:
            found.append(
                f"Below a temperature of {LOWEST_TEMPERATURE} R1 tends to repeat itself "
                f"without end; {advised.temperature} is recommended."
            )
        if temperature is not None and temperature > HIGHEST_TEMPERATURE:
            found.append(
                f"Above a temperature of {HIGHEST_TEMPERATURE} R1 tends to lose its thread; "
                f"{advised.temperature} is recommended."
            )
        if self.top_p is not None and abs(self.top_p - advised.top_p) > 0.001:
            found.append(f"R1 was measured with a top-p of {advised.top_p}.")
        if self.system and not model.system_prompt:
            found.append(SYSTEM_REASON)
        return tuple(found)

    def to_text(self) -> str:
        """For the store; empty where nothing is chosen."""
        return json.dumps(asdict(self)) if self != USUAL else ""

    @classmethod
    def from_text(cls, text: str) -> Manner:
        """As it was stored; what cannot be read is as if nothing was chosen."""
        try:
            values = json.loads(text) if text else {}
            return cls(
                system=str(values.get("system", "")),
                preset=str(values.get("preset", "")),
                temperature=_number(values.get("temperature")),
                top_p=_number(values.get("top_p")),
                seed=None if values.get("seed") is None else int(values["seed"]),
                leave_out_oldest=values.get("leave_out_oldest") is True,
            )
        except (ValueError, TypeError, AttributeError):
            return cls()


USUAL: Final = Manner()
"""Nothing chosen."""


def _number(value: object) -> float | None:
    return None if value is None else float(str(value))
