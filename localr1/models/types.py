"""Models and their variants, as the catalogue describes them."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from localr1.gguf.types import Architecture, ChatFormat, TensorInfo

SystemJoin = Literal["last", "paragraphs"]


@dataclass(frozen=True)
class Sourced:
    """A fact with the place it was read from."""

    value: float | int | str
    source: str
    """A page or repository; `unverified` when nobody has seen one."""


@dataclass(frozen=True)
class Sampling:
    """Recommended sampling settings."""

    temperature: float = 0.6
    top_p: float = 0.95
    top_k: int = 64
    min_p: float = 0.0


@dataclass(frozen=True)
class Variant:
    """One quantized file set of a model."""

    quantization: str
    """`Q4_K_M`, `UD-IQ1_S`, ..."""
    repository: str
    """`owner/name` on the hub; empty for a local file."""
    files: tuple[str, ...]
    """Paths inside the repository, shards in order; may hold one glob (`*`) when the names
    are irregular and must be listed from the hub."""
    size_bytes: int
    """All files together."""
    size_is_exact: bool
    """False where the size was computed or rounded, not read from a published listing."""
    sha256: tuple[str, ...] = ()
    """Per file, where known; the hub's own value decides at download time."""
    revision: str = "main"
    shards: int = 1
    """Number of files; 0 where only the hub's listing says."""
    path: Path | None = None
    """A file that is already here and needs no download (the demo, an imported file)."""
    tensors: tuple[TensorInfo, ...] = field(default=(), compare=False, repr=False)
    """Every tensor, from the header of the file itself; empty where nobody read it."""

    def is_of(self, repository: str, files: Sequence[str]) -> bool:
        """Whether these files of a repository, shards in order, are this variant's."""
        if repository != self.repository:
            return False
        if len(self.files) > 1:
            return list(self.files) == list(files)
        return any(fnmatch.fnmatchcase(files[0], pattern) for pattern in self.files)


@dataclass(frozen=True)
class ThinkingTokens:
    """How many tokens this model thinks, by kind of question."""

    typical: int
    hard: int
    assumed: bool
    """True where no published count was found."""
    source: str
    hard_assumed: bool | None = None
    """The same for the hard question alone; None: as `assumed`."""

    def is_assumed(self, *, hard: bool) -> bool:
        """Whether the count for a kind of question is an assumption."""
        return self.hard_assumed if hard and self.hard_assumed is not None else self.assumed


@dataclass(frozen=True)
class Model:
    """One member of the R1 family."""

    id: str
    """Catalogue id: `r1-distill-qwen-7b`, `demo`."""
    name: str
    """Full name: `DeepSeek-R1-Distill-Qwen-7B`."""
    architecture: Architecture
    variants: tuple[Variant, ...]
    """Best quality first."""
    license: str
    base_license: str
    released: str
    source: str
    """The original repository on the hub."""
    force_think: bool
    """Whether the template opens `<think>` itself."""
    system_prompt: bool
    """Whether the makers recommend or support a system prompt."""
    sampling: Sampling
    kv_cache_types: tuple[str, ...]
    """KV cache types that do not harm this model, best first."""
    thinking_tokens: ThinkingTokens
    benchmarks: dict[str, Sourced] = field(default_factory=dict, hash=False)
    """Published scores by name: `aime_2024`, `math_500`, `gpqa_diamond`, `livecodebench`."""
    quality: float = 0.0
    """Mean of the published scores that every model of the family has, in percent."""
    demo: bool = False
    """A demonstration, not an R1 model."""
    notes: tuple[str, ...] = ()
    system_join: SystemJoin = "last"
    """What the template makes of several system messages: only the last one counts, or they
    follow each other as paragraphs."""
    kv_cache_reserve: tuple[str, ...] = ()
    """KV cache types to fall back on where memory is too short for the others, best first."""
    own_format: ChatFormat | None = None
    """How the model's file writes conversations; None: in R1's form."""


@dataclass(frozen=True)
class Choice:
    """What a user means by MODEL[:VARIANT]."""

    model: Model
    variant: Variant | None
    """None when the user left the quantization open."""


@dataclass(frozen=True)
class LocalModel:
    """A variant whose files are complete on this disk."""

    model: Model
    variant: Variant
    path: Path
    """The first or only shard, ready to load."""
    size_bytes: int
    place: str = "localr1"
    """The program in whose folder it lies: `localr1`, `LM Studio`, ..."""
    altered: bool = False
    """Whether a check found that it is not what it should be, and it was not changed since."""

    @property
    def doubt(self) -> str:
        """What speaks against using it, for people; empty where nothing does."""
        if not self.altered:
            return ""
        name = f"{self.model.id}:{self.variant.quantization}"
        return (
            f"{name} was not as it should be when it was last checked; what it says may be"
            f" nonsense. `localr1 verify {name}` tells more."
        )
