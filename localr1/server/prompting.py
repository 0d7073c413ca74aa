"""From a request to what the engine is asked: R1's template, sampling, limits. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from localr1.chat import template
from localr1.chat.request import request_for
from localr1.chat.types import ReplyOptions
from localr1.engine import protocol
from localr1.models.types import Model
from localr1.server.asked import Chat, Completion, Said, Wishes

_END_THINK: Final = "</think>"
_THINK: Final = "<think>"
_Last = template.Asked | template.Turn | template.Resumed


def made(
    asked: Chat | Completion, model: Model, seed: int, context_window: int
) -> protocol.Generate:
    """What the engine is asked; see `of_chat` and `of_completion`."""
    if isinstance(asked, Chat):
        return of_chat(asked, model, context_window=context_window, seed=seed)
    return of_completion(asked, model, context_window=context_window, seed=seed)


def of_chat(asked: Chat, model: Model, *, context_window: int, seed: int) -> protocol.Generate:
    """What the engine is asked for the next message of a conversation.

    A conversation that ends with the assistant's message goes on in the middle of it.

    Args:
        asked: The request.
        model: The catalogue's entry: template and sampling.
        context_window: Tokens that the engine's window holds.
        seed: Where the request names none.

    Raises:
        TemplateError: The model file's own template cannot be used.
    """
    form = template.of(model)
    system = form.system_text([said.text for said in asked.messages if said.role == "system"])
    history, last = _turns(asked.messages, form, no_thought=asked.thinking_budget_tokens == 0)
    return _request(
        form.render(system, history, last),
        asked.wishes,
        model,
        context_window=context_window,
        seed=seed,
        thinking_open=_inside_thinking(last),
        budget_tokens=asked.thinking_budget_tokens,
        grammar=asked.grammar,
        continues=not (isinstance(last, template.Asked) or _inside_thinking(last)),
    )


def of_completion(
    asked: Completion, model: Model, *, context_window: int, seed: int
) -> protocol.Generate:
    """What the engine is asked to go on with a text, in which markers are markers."""
    begin = model.own_format.begin if model.own_format is not None else template.BOS
    text = asked.prompt if asked.prompt.startswith(begin) else begin + asked.prompt
    return _request(
        (protocol.Segment(text, special=True),),
        asked.wishes,
        model,
        context_window=context_window,
        seed=seed,
        thinking_open=opens_thinking(asked.prompt),
    )


def opens_thinking(prompt: str) -> bool:
    """Whether a text ends inside a thinking."""
    return prompt.rfind(_THINK) > prompt.rfind(_END_THINK)


def _turns(
    messages: Sequence[Said], form: template.Template, *, no_thought: bool
) -> tuple[list[template.Turn], _Last]:
    """The earlier exchanges, and how the prompt ends.

    Messages of one side that follow each other become one, as paragraphs.
    """
    sides: list[Said] = []
    for said in messages:
        if said.role == "system":
            continue
        if sides and sides[-1].role == said.role:
            sides[-1] = Said(said.role, f"{sides[-1].text}\n\n{said.text}")
        else:
            sides.append(said)
    if not sides or sides[0].role == "assistant":
        sides.insert(0, Said("user", ""))
    turns = [
        template.Turn(question.text, _without_thinking(answer.text))
        for question, answer in zip(sides[::2], sides[1::2], strict=False)
    ]
    if sides[-1].role == "assistant":
        begun = sides[-1].text.lstrip()
        if not begun.startswith(_THINK):
            return turns[:-1], turns[-1]
        thinking, over, answer = begun.removeprefix(_THINK).partition(_END_THINK)
        question = turns[-1].question
        rest = answer.lstrip("\n") if over else None
        return turns[:-1], template.Resumed(question, thinking.removeprefix("\n"), rest)
    return turns, template.Asked(sides[-1].text, form.opens_thinking(asked=no_thought))


def _inside_thinking(last: _Last) -> bool:
    if isinstance(last, template.Asked):
        return last.open_thinking
    return isinstance(last, template.Resumed) and last.answer is None


def _without_thinking(answer: str) -> str:
    """An earlier answer, as R1's template shows it."""
    _, mark, rest = answer.rpartition(_END_THINK)
    return rest.lstrip("\n") if mark else answer


def _request(  # noqa: PLR0913 - by keyword
    segments: tuple[protocol.Segment, ...],
    wishes: Wishes,
    model: Model,
    *,
    context_window: int,
    seed: int,
    thinking_open: bool,
    budget_tokens: int | None = None,
    grammar: str = "",
    continues: bool = False,
) -> protocol.Generate:
    options = ReplyOptions(
        temperature=wishes.temperature,
        top_p=wishes.top_p,
        max_tokens=wishes.max_tokens,
        thinking_budget_tokens=budget_tokens,
        on_loop="end",  # nobody is there to be asked
        grammar=grammar,
    )
    sampling = replace(
        model.sampling,
        top_k=wishes.top_k or model.sampling.top_k,
        min_p=model.sampling.min_p if wishes.min_p is None else wishes.min_p,
    )
    asked = request_for(
        segments,
        # llama.cpp's seeds have 32 bits, the largest of which means a random one.
        seed if wishes.seed is None else wishes.seed % (1 << 31),
        options,
        sampling,
        context_window=context_window,
        thinking_open=thinking_open,
    )
    return replace(asked, continues_answer=continues)
