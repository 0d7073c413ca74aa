"""The commands of the screens where a model is chosen; see `command`."""

from __future__ import annotations

from localr1.tui.command import Command

WELCOME = (
    Command(
        "welcome.all",
        "a",
        "toggle_all",
        "All",
        "Show every quantization, or only the best of each model.",
        shown=True,
    ),
    Command(
        "welcome.goal",
        "g",
        "next_goal",
        "Goal",
        "Rank by balance, best quality, or speed.",
        shown=True,
    ),
    Command(
        "welcome.what_if",
        "w",
        "what_if",
        "What if",
        "Ask for another context or KV cache, or see what another machine could do.",
        shown=True,
    ),
    Command(
        "welcome.details",
        "d,space",
        "details",
        "Details",
        "Everything about this plan: times, memory, every reason.",
        shown=True,
        display="D or Space",
    ),
    Command(
        "welcome.here",
        "t",
        "this_machine",
        "This machine",
        "Back to this machine, after looking at what another one could do.",
        shown=True,
    ),
    Command(
        "welcome.again", "r", "examine", "Look again", "Examine this machine again.", shown=True
    ),
    Command("welcome.back", "escape", "back", "Back", "Return to the chat.", shown=True),
    Command("welcome.quit", "q", "leave", "Quit", "Leave localr1.", shown=True, palette=False),
)

WHAT_IF = (
    Command("what_if.earlier", "up", "row(-1)", "Row above", "The row above.", palette=False),
    Command("what_if.later", "down", "row(1)", "Row below", "The row below.", palette=False),
    Command(
        "what_if.less",
        "left",
        "change(-1)",
        "Change",
        "The value before; the list is ranked again as you move.",
        shown=True,
        palette=False,
        display="←",
        footer="←→",
    ),
    Command(
        "what_if.more",
        "right",
        "change(1)",
        "Change",
        "The value after.",
        palette=False,
        display="→",
    ),
    Command(
        "what_if.type",
        "enter",
        "type",
        "Type it",
        "Type a context, a size or the name of a graphics card.",
        shown=True,
        palette=False,
    ),
    Command(
        "what_if.leave",
        "escape",
        "leave",
        "List",
        "Back to the list; what is asked for stays.",
        shown=True,
        palette=False,
    ),
)

PLAN = (
    Command("plan.take", "enter", "take", "Choose", "Load it, or download it first.", shown=True),
    Command(
        "plan.close",
        "escape,d,space",
        "close",
        "Close",
        "Back to the list.",
        shown=True,
        palette=False,
        display="Esc",
    ),
)
