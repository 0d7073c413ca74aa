"""The fixed words by which the engine ends a model's thinking.

A bare `</think>` makes R1 go on thinking inside its answer; a sentence that says the thinking
is over, in the model's own voice, does not. The demo model is trained on exactly these words.
"""

from __future__ import annotations

from typing import Final

CLOSING_SENTENCE: Final = "\n\nI will stop thinking now and give my answer."
"""Fed before the end of thinking when the user or a budget ends it."""

CLOSING_NEWLINE: Final = "\n"
"""Fed between the closing sentence and the `</think>` token."""

ANSWER_SEPARATOR: Final = "\n\n"
"""Fed after the `</think>` token; R1 writes the same itself."""
