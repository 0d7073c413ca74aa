"""The app's own two themes. Every theme of Textual works as well."""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="localr1-dark",
    primary="#7fa7d1",
    secondary="#9a8fc0",
    accent="#d3a86a",
    foreground="#d6dae1",
    background="#14161a",
    surface="#1a1d22",
    panel="#22262d",
    success="#8fbf7f",
    warning="#dfb15f",
    error="#e0787c",
    dark=True,
    variables={
        "border": "#3a414c",
        "border-blurred": "#2a2f37",
        "block-cursor-foreground": "#f2f4f7",
        "block-cursor-background": "#2d3b4d",
        "block-cursor-blurred-background": "#242a33",
        "block-cursor-text-style": "none",
        "input-selection-background": "#7fa7d1 35%",
        "footer-background": "#14161a",
        "footer-key-foreground": "#7fa7d1",
        "footer-description-foreground": "#8d95a1",
        "footer-item-background": "#14161a",
        "scrollbar": "#343b46",
        "scrollbar-hover": "#4a5361",
        "scrollbar-active": "#7fa7d1",
        "scrollbar-background": "#14161a",
        "scrollbar-background-hover": "#14161a",
        "scrollbar-background-active": "#14161a",
        "scrollbar-corner-color": "#14161a",
    },
)
"""The default: dark and calm."""

LIGHT = Theme(
    name="localr1-light",
    primary="#2f628f",
    secondary="#66578f",
    accent="#8a5a12",
    foreground="#22262c",
    background="#faf9f6",
    surface="#f2f0eb",
    panel="#e7e4dc",
    success="#39702d",
    warning="#8a5d00",
    error="#ad2f35",
    dark=False,
    variables={
        "border": "#bdb8ac",
        "border-blurred": "#dad6cc",
        "block-cursor-foreground": "#14161a",
        "block-cursor-background": "#cfdcea",
        "block-cursor-blurred-background": "#e2e6ea",
        "block-cursor-text-style": "none",
        "footer-background": "#faf9f6",
        "footer-key-foreground": "#2f628f",
        "footer-description-foreground": "#666b73",
        "footer-item-background": "#faf9f6",
        "scrollbar": "#cfcabd",
        "scrollbar-hover": "#aaa494",
        "scrollbar-active": "#2f628f",
        "scrollbar-background": "#faf9f6",
        "scrollbar-background-hover": "#faf9f6",
        "scrollbar-background-active": "#faf9f6",
        "scrollbar-corner-color": "#faf9f6",
    },
)
"""The same on paper."""

THEMES = (DARK, LIGHT)
DEFAULT = DARK.name
