"""What the official chat templates do, as Jinja texts of our own: the reference for ours.

Facts: tokenizer_config.json of deepseek-ai/DeepSeek-R1 (of its first days, and of today),
DeepSeek-R1-0528 and DeepSeek-R1-0528-Qwen3-8B, without tools. They are rendered by jinja2 alone,
with the settings of Hugging Face's apply_chat_template.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from jinja2 import Environment

BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"

_LAST_SYSTEM = (
    "{%- set found = namespace(system='') -%}"
    "{%- for m in messages if m.role == 'system' -%}{%- set found.system = m.content -%}"
    "{%- endfor -%}"
    "{{ bos_token + found.system }}"
)
_ALL_SYSTEMS = (
    "{{ bos_token }}"
    "{{ messages | selectattr('role', 'equalto', 'system') | map(attribute='content')"
    " | join('\\n\\n') }}"
)
_TURNS = (
    "{%- for m in messages -%}"
    "{%- if m.role == 'user' -%}{{ '<｜User｜>' + m.content }}"
    "{%- elif m.role == 'assistant' -%}"
    "{{ '<｜Assistant｜>' + (m.content.split('</think>') | last) + '<｜end▁of▁sentence｜>' }}"
    "{%- endif -%}"
    "{%- endfor -%}"
)
_TURNS_OF_QWEN3_8B = (
    "{%- for m in messages -%}"
    "{%- if m.role == 'user' -%}{{ '<｜User｜>' + m.content + '<｜Assistant｜>' }}"
    "{%- elif m.role == 'assistant' -%}"
    "{{ (m.content.split('</think>') | last) + '<｜end▁of▁sentence｜>' }}"
    "{%- endif -%}"
    "{%- endfor -%}"
)

JANUARY = _LAST_SYSTEM + _TURNS + "{{ '<｜Assistant｜>' if add_generation_prompt else '' }}"
CURRENT = (
    _LAST_SYSTEM + _TURNS + "{{ '<｜Assistant｜><think>\\n' if add_generation_prompt else '' }}"
)
R1_0528 = _ALL_SYSTEMS + _TURNS + "{{ '<｜Assistant｜>' if add_generation_prompt else '' }}"
R1_0528_QWEN3_8B = _ALL_SYSTEMS + _TURNS_OF_QWEN3_8B


def written(
    source: str,
    messages: Sequence[Mapping[str, str]],
    *,
    begin: str = BOS,
    end: str = EOS,
    add_generation_prompt: bool = True,
) -> str:
    """What a template makes of messages."""
    environment = Environment(trim_blocks=True, lstrip_blocks=True)

    def refuse(message: str) -> None:
        raise ValueError(message)

    environment.globals["raise_exception"] = refuse
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string(source).render(
        messages=messages,
        add_generation_prompt=add_generation_prompt,
        bos_token=begin,
        eos_token=end,
        enable_thinking=True,
        tools=None,
    )
