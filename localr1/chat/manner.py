"""How one conversation is held: a system prompt, words added to questions, sampling."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
            return cls.from_values(json.loads(text) if text else {})
        except ValueError:
            return cls()

    @classmethod
    def from_values(cls, values: object) -> Manner:
        """From the fields by name, as far as each is sound; anything else is not chosen."""
        if not isinstance(values, Mapping):
            return cls()
        system, preset, seed = values.get("system"), values.get("preset"), values.get("seed")
        sound_seed = isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**31
        return cls(
            system=system.encode("utf-8", "replace").decode() if isinstance(system, str) else "",
            preset=str(preset) if any(preset == each.id for each in PRESETS) else "",
            temperature=_number(values.get("temperature"), 0, 2),
            top_p=_number(values.get("top_p"), 0.01, 1),
            seed=seed if sound_seed else None,
            leave_out_oldest=values.get("leave_out_oldest") is True,
        )

    @property
    def words(self) -> str:
        """What was chosen that bears on the answers, in a line; empty for nothing."""
        preset = next((each.label for each in PRESETS if each.id == self.preset), "")
        parts = (
            preset.lower() if self.preset else "",
            "" if self.temperature is None else f"temperature {self.temperature:g}",
            "" if self.top_p is None else f"top-p {self.top_p:g}",
            "" if self.seed is None else f"seed {self.seed}",
            f"system prompt: {self.system}" if self.system else "",
        )
        return ", ".join(part for part in parts if part)


USUAL: Final = Manner()
"""Nothing chosen."""


def _number(value: object, least: float, most: float) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if least <= value <= most else None
