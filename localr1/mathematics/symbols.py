"""What the commands of LaTeX stand for.

Two commands have the same sign only where they mean the same; a command that is not here is not
known, and its formula is shown as source.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from localr1.mathematics.tree import Kind, Symbol

_LETTERS = """
alpha α beta β gamma γ delta δ epsilon ϵ varepsilon ε zeta ζ eta η theta θ vartheta ϑ iota ι
kappa κ varkappa ϰ lambda λ mu μ nu ν xi ξ omicron ο pi π varpi ϖ rho ρ varrho ϱ sigma σ
varsigma ς tau τ upsilon υ phi ϕ varphi φ chi χ psi ψ omega ω
Gamma Γ Delta Δ Theta Θ Lambda Λ Xi Ξ Pi Π Sigma Σ Upsilon Υ Phi Φ Psi Ψ Omega Ω
ell ℓ hbar ℏ imath ı jmath ȷ Re ℜ Im ℑ wp ℘ aleph ℵ beth ℶ eth ð
"""
_ORDINARY = """
infty ∞ partial ∂ nabla ∇ forall ∀ exists ∃ nexists ∄ neg ¬ lnot ¬ emptyset ∅ varnothing ∅
angle ∠ measuredangle ∡ triangle △ square □ Box □ blacksquare ■ qed ∎ bot ⊥ top ⊤ prime ′
ldots … dots … dotsc … textellipsis … cdots ⋯ dotsb ⋯ dotsm ⋯ dotsi ⋯ vdots ⋮ ddots ⋱
degree ° textdegree ° % % $ $ # # & & _ _ backslash \\ dagger † ddagger ‡ star ⋆ bigstar ★
clubsuit ♣ diamondsuit ♢ heartsuit ♡ spadesuit ♠ checkmark ✓ pounds £ euro € yen ¥ copyright ©
S § P ¶ lozenge ◊ bigcirc ◯ circledast ⊛ flat ♭ sharp ♯ natural ♮
"""
_BINARY = """
pm ± mp ∓ times × div ÷ cdot · ast ∗ bullet • circ ∘ cap ∩ cup ∪ sqcap ⊓ sqcup ⊔ uplus ⊎
setminus ∖ smallsetminus ∖ land ∧ wedge ∧ lor ∨ vee ∨ veebar ⊻ barwedge ⊼ oplus ⊕ ominus ⊖
otimes ⊗ oslash ⊘ odot ⊙ wr ≀ amalg ⨿ diamond ⋄ ltimes ⋉ rtimes ⋊ bigtriangleup △
dotplus ∔ boxplus ⊞ boxtimes ⊠ centerdot ·
"""
_RELATIONS = """
le ≤ leq ≤ leqslant ≤ ge ≥ geq ≥ geqslant ≥ ne ≠ neq ≠ equiv ≡ approx ≈ sim ∼ simeq ≃ cong ≅
propto ∝ ll ≪ gg ≫ lll ⋘ ggg ⋙ prec ≺ succ ≻ preceq ⪯ succeq ⪰ asymp ≍ doteq ≐ coloneqq ≔
triangleq ≜ approxeq ≊ lesssim ≲ gtrsim ≳ lt < gt > nless ≮ ngtr ≯ nleq ≰ ngeq ≱
in ∈ ni ∋ notin ∉ subset ⊂ supset ⊃ subseteq ⊆ supseteq ⊇ subsetneq ⊊ supsetneq ⊋ nsubseteq ⊈
nsupseteq ⊉ sqsubseteq ⊑ sqsupseteq ⊒ mid | nmid ∤ parallel ∥ nparallel ∦ perp ⊥
to → rightarrow → gets ← leftarrow ← leftrightarrow ↔ Rightarrow ⇒ Leftarrow ⇐ Leftrightarrow ⇔
longrightarrow ⟶ longleftarrow ⟵ longleftrightarrow ⟷ implies ⟹ Longrightarrow ⟹ impliedby ⟸
Longleftarrow ⟸ iff ⟺ Longleftrightarrow ⟺ mapsto ↦ longmapsto ⟼ hookrightarrow ↪
hookleftarrow ↩ uparrow ↑ downarrow ↓ updownarrow ↕ Uparrow ⇑ Downarrow ⇓ nearrow ↗ searrow ↘
swarrow ↙ nwarrow ↖ rightharpoonup ⇀ rightharpoondown ⇁ leftharpoonup ↼ leftharpoondown ↽
rightleftharpoons ⇌ leadsto ⇝ rightsquigarrow ⇝ twoheadrightarrow ↠ nrightarrow ↛ nRightarrow ⇏
vdash ⊢ dashv ⊣ models ⊨ vDash ⊨ nvdash ⊬ nvDash ⊭ triangleleft ◁ triangleright ▷
trianglelefteq ⊴ unlhd ⊴ bowtie ⋈ smile ⌣ frown ⌢ between ≬ bumpeq ≏ therefore ∴ because ∵
"""
_SUMS = """
sum ∑ prod ∏ coprod ∐ bigcup ⋃ bigcap ⋂ bigsqcup ⨆ bigvee ⋁ bigwedge ⋀ bigoplus ⨁ bigotimes ⨂
bigodot ⨀ biguplus ⨄
"""
_INTEGRALS = "int ∫ iint ∬ iiint ∭ oint ∮ oiint ∯"
_FUNCTIONS = """
sin cos tan cot sec csc sinh cosh tanh coth sech csch arcsin arccos arctan arccot arcsec arccsc
sgn log ln lg exp det dim ker deg gcd lcm arg hom erf
"""
_LIMITS = "lim limsup liminf max min sup inf Pr argmax argmin injlim projlim"
_LIMIT_NAMES = {"limsup": "lim sup", "liminf": "lim inf"}

DELIMITERS: Final = {
    "(": "(",
    ")": ")",
    "[": "[",
    "]": "]",
    "/": "/",
    "|": "|",
    ".": "",
    "<": "⟨",
    ">": "⟩",
    "\\{": "{",
    "\\}": "}",
    "\\lbrace": "{",
    "\\rbrace": "}",
    "\\|": "‖",
    "\\Vert": "‖",
    "\\vert": "|",
    "\\lvert": "|",
    "\\rvert": "|",
    "\\lVert": "‖",
    "\\rVert": "‖",
    "\\langle": "⟨",
    "\\rangle": "⟩",
    "\\lbrack": "[",
    "\\rbrack": "]",
    "\\lfloor": "⌊",
    "\\rfloor": "⌋",
    "\\lceil": "⌈",
    "\\rceil": "⌉",
    "\\backslash": "\\",
    "\\llbracket": "⟦",
    "\\rrbracket": "⟧",
    "\\uparrow": "↑",
    "\\downarrow": "↓",
    "\\lgroup": "(",
    "\\rgroup": ")",
}
r"""What may stand after `\left`."""

CLOSING: Final = {
    "(": ")]",
    "[": "])",
    "{": "}",
    "⟨": "⟩",
    "⌊": "⌋",
    "⌈": "⌉",
    "⟦": "⟧",
}
"""Which signs may end what another begins: intervals mix round and square ones."""

_CLOSES: Final = frozenset("".join(CLOSING.values()))

SPACES: Final = {
    "\\,": 1,
    "\\:": 1,
    "\\;": 1,
    "\\ ": 1,
    "~": 1,
    "\\>": 1,
    "\\thinspace": 1,
    "\\space": 1,
    "\\medspace": 1,
    "\\thickspace": 1,
    "\\enspace": 1,
    "\\quad": 3,
    "\\qquad": 4,
    "\\!": 0,
    "\\negthinspace": 0,
    "\\hfill": 3,
    "\\nobreakspace": 1,
}
"""Cells; three or more keep their two sides apart."""

ACCENTS: Final = {
    "hat": ("hat", "\u0302"),
    "widehat": ("hat", "\u0302"),
    "bar": ("bar", "\u0304"),
    "overline": ("overline", "\u0305"),
    "vec": ("vec", "\u20d7"),
    "overrightarrow": ("vec", "\u20d7"),
    "overleftarrow": ("overleftarrow", "\u20d6"),
    "overleftrightarrow": ("overleftrightarrow", "\u20e1"),
    "tilde": ("tilde", "\u0303"),
    "widetilde": ("tilde", "\u0303"),
    "dot": ("dot", "\u0307"),
    "ddot": ("ddot", "\u0308"),
    "dddot": ("dddot", "\u20db"),
    "check": ("check", "\u030c"),
    "breve": ("breve", "\u0306"),
    "acute": ("acute", "\u0301"),
    "grave": ("grave", "\u0300"),
    "mathring": ("ring", "\u030a"),
    "underline": ("underline", "\u0332"),
    "overbrace": ("overbrace", ""),
    "underbrace": ("underbrace", ""),
    "overparen": ("arc", "\u0311"),
    "cancel": ("cancel", "\u0338"),
    "bcancel": ("cancel", "\u20e5"),
    "xcancel": ("cancel", "\u0338"),
}
"""The name for where it cannot be drawn, and the combining character."""

ARROWS: Final = {
    "xrightarrow": "→",
    "xleftarrow": "←",
    "xleftrightarrow": "↔",
    "xRightarrow": "⇒",
    "xLeftarrow": "⇐",
    "xmapsto": "↦",
    "xrightleftharpoons": "⇌",
}
"""Arrows with something written over and under them."""

NEGATED: Final = {
    "=": "≠",
    "∈": "∉",
    "∋": "∌",
    "<": "≮",
    ">": "≯",
    "≤": "≰",
    "≥": "≱",
    "≡": "≢",
    "∼": "≁",
    "≈": "≉",
    "≅": "≇",
    "⊂": "⊄",
    "⊃": "⊅",
    "⊆": "⊈",
    "⊇": "⊉",
    "|": "∤",
    "∥": "∦",
    "∃": "∄",
    "→": "↛",
    "⇒": "⇏",
    "⊢": "⊬",
    "⊨": "⊭",
    "≃": "≄",
    "⇔": "⇎",
    "↔": "↮",
}
r"""With `\not` before them."""


_Table: TypeAlias = dict[str, Symbol]


def _table(pairs: str, kind: Kind, *, limits: bool = False, integral: bool = False) -> _Table:
    words = pairs.split()
    return {
        f"\\{name}": Symbol(text, kind, limits, integral)
        for name, text in zip(words[::2], words[1::2], strict=True)
    }


COMMANDS: Final[_Table] = {
    **_table(_LETTERS, "letter"),
    **_table(_ORDINARY, "ordinary"),
    **_table(_BINARY, "binary"),
    **_table(_RELATIONS, "relation"),
    **_table(_SUMS, "big", limits=True),
    **_table(_INTEGRALS, "big", integral=True),
    **{f"\\{name}": Symbol(name, "function") for name in _FUNCTIONS.split()},
    **{f"\\{name}": Symbol(_LIMIT_NAMES.get(name, name), "big", True) for name in _LIMITS.split()},
    "\\gcd": Symbol("gcd", "function", True),
    "\\det": Symbol("det", "function", True),
    "\\colon": Symbol(":", "punctuation"),
    "\\bmod": Symbol("mod", "binary"),
    "\\mod": Symbol("mod", "binary"),
}
"""By the command, with its backslash."""

_SIGNS: _Table = {
    **{sign: Symbol(sign, "binary") for sign in "+*"},
    "-": Symbol("−", "binary"),
    **{sign: Symbol(sign, "relation") for sign in "=<>:"},
    **{sign: Symbol(sign, "punctuation") for sign in ",;."},
    "/": Symbol("/", "slash"),
    "!": Symbol("!", "postfix"),
}
_WRITTEN: _Table = {
    symbol.text: symbol
    for symbol in COMMANDS.values()
    if len(symbol.text) == 1 and not symbol.text.isascii()
}


def sign(character: str) -> Symbol:
    """What a character stands for that was written as itself."""
    known = _SIGNS.get(character) or _WRITTEN.get(character)
    if known is not None:
        return known
    if character.isdigit() and character.isascii():
        return Symbol(character, "number")
    return Symbol(character, "letter" if character.isalpha() else "ordinary")


def fence(text: str) -> Symbol:
    """A bracket that stands for itself, of the side that it has."""
    if text in {"|", "‖"}:
        return Symbol(text, "bar")
    if text in CLOSING:
        return Symbol(text, "open")
    return Symbol(text, "close" if text in _CLOSES else "ordinary")


def is_letter(text: str) -> bool:
    r"""Whether a token is a letter: `x`, `\theta`."""
    return text.isalpha() or (text in COMMANDS and COMMANDS[text].kind == "letter")
