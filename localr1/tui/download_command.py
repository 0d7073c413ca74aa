"""The commands of the downloads."""

from __future__ import annotations

from localr1.tui.command import Command

DOWNLOAD = (
    Command(
        "download.start",
        "enter",
        "start",
        "Download",
        "Start the download, or go on with it.",
        shown=True,
    ),
    Command(
        "download.cancel",
        "escape",
        "cancel",
        "Stop",
        "Stop; what is here stays and the next download goes on from it.",
        shown=True,
    ),
    Command(
        "download.background",
        "b",
        "background",
        "In the background",
        "Go on downloading while you do something else; F3 shows how far it is.",
        shown=True,
    ),
    Command(
        "download.demo",
        "d",
        "demo",
        "Use the demo",
        "Chat with the demonstration model instead.",
        shown=True,
    ),
)

DOWNLOADS = (
    Command(
        "downloads.pause",
        "space",
        "pause",
        "Pause or go on",
        "Pause this download, or let it go on.",
        shown=True,
    ),
    Command(
        "downloads.earlier",
        "shift+up,minus",
        "move(-1)",
        "Earlier",
        "Move it up; the first one that is not paused runs.",
        shown=True,
        display="Shift+↑",
    ),
    Command(
        "downloads.later",
        "shift+down,plus",
        "move(1)",
        "Later",
        "Move it down.",
        shown=True,
        display="Shift+↓",
    ),
    Command(
        "downloads.limit",
        "l",
        "limit",
        "Speed limit",
        "Limit the speed of all downloads together.",
        shown=True,
    ),
    Command(
        "downloads.remove",
        "delete,x",
        "remove",
        "Take out",
        "Take it out of the list; what has come stays on the disk until `localr1 rm --stopped`.",
        shown=True,
    ),
    Command("downloads.close", "escape", "close", "Close", "Go back.", shown=True, palette=False),
)
