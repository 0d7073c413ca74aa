"""What is on this disk: our own downloads, imported files, and what other programs have.

Our own downloads are known by their notes (`downloaded`), everything else by its header
(`discover`). Only our own are ever deleted or moved; files of other programs are only read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

import localr1
from localr1.errors import FileError
from localr1.gguf.file import shard_paths
from localr1.models import downloaded
from localr1.models.discover import Discovery, Found, discover, together
from localr1.models.downloaded import Partial, Unit
from localr1.models.headers import HeaderCache, Reading
from localr1.models.identify import distinct, local_model
from localr1.models.place import free_bytes, read_sidecar, target_path
from localr1.models.places import ADDED, IMPORTED, OWN, Place
from localr1.models.preferred import preferred
from localr1.models.records import Records, Standing, standing
from localr1.models.types import Choice, LocalModel, Model, Variant

__all__ = ["DEMO_PATH", "Library", "Partial", "free_bytes"]

DEMO_PATH = Path(localr1.__file__).parent / "data" / "demo.gguf"


_STANDINGS: Final[tuple[Standing, ...]] = ("proven", "unknown", "altered")
"""The most trusted first."""


class Models(Protocol):
    """What the library needs of a catalogue."""

    @property
    def models(self) -> tuple[Model, ...]:
        """Every model."""


@dataclass(frozen=True)
class _Shelf:
    models: tuple[Model, ...]


@dataclass(frozen=True)
class Survey:
    """Everything on this disk."""

    models: tuple[LocalModel, ...]
    """What can be used: the catalogue's in its order, then others."""
    discovery: Discovery
    """All that was found besides our own downloads, also what cannot be used."""


class Library:
    """The models on this disk.

    Args:
        directory: The folder of downloads; it need not exist.
        demo: The demonstration model's file.
        places: Where else model files may lie, the preferred first.
        cache: Headers that were read before.
        records: What is remembered of files, and more folders with our own downloads.
    """

    def __init__(
        self,
        directory: Path,
        demo: Path = DEMO_PATH,
        *,
        places: Sequence[Place] = (),
        cache: HeaderCache | None = None,
        records: Records | None = None,
    ) -> None:
        self.directory = directory
        self.records = records or Records(None)
        self._demo = demo
        self._places = places
        self._cache = cache or HeaderCache(None)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Every folder with our own downloads: the usual one, then those moved to."""
        return tuple(dict.fromkeys((self.directory, *self.records.read().folders)))

    @property
    def absent(self) -> tuple[Path, ...]:
        """Folders that downloads were moved to and that are not here now, as on a disk unplugged."""
        recorded = self.records.read()
        return tuple(
            folder
            for folder in recorded.folders
            # A place where disks are mounted stays, empty, when one is taken away.
            if not folder.is_dir()
            or (
                any(Path(name).is_relative_to(folder) for name in recorded.files)
                and not downloaded.units(folder)
            )
        )

    @property
    def absence(self) -> str:
        """What is said of folders that are not here; empty where all are."""
        names = ", ".join(str(folder) for folder in self.absent)
        return f"{names}, where downloads were moved to, is not connected now." if names else ""

    def scan(self, catalogue: Models) -> tuple[LocalModel, ...]:
        """Every complete model: the catalogue's in its order, then others of the family.

        Of several files of one variant the preferred is given: our own download first.

        Raises:
            FileError: The folder of downloads cannot be read.
        """
        return self.survey(catalogue).models

    def survey(self, catalogue: Models) -> Survey:
        """Like `scan`, with everything else that was found.

        Raises:
            FileError: The folder of downloads cannot be read.
        """
        own = self._own(catalogue.models)
        discovery = self._discover()
        # What was downloaded as a variant of the catalogue is that, whatever its header says.
        known = {local.path for local in own}
        strange = (found for found in discovery.found if found.path not in known)
        others = self._usable(catalogue.models, strange)
        return Survey(preferred([*own, *others], catalogue.models), discovery)

    def files(self, catalogue: Models) -> tuple[LocalModel, ...]:
        """Every complete model file, also the second and third of one variant.

        Raises:
            FileError: The folder of downloads cannot be read.
        """
        listed = self.scan(catalogue)
        others = [*self._own(catalogue.models), *self._usable(catalogue.models, self._recalled())]
        known = {local.path.resolve(): local for local in reversed((*listed, *others))}
        return tuple(reversed(known.values()))

    def find(self, choice: Choice) -> LocalModel | None:
        """The file that a choice means, if it is here: the best variant where none was named.

        Raises:
            FileError: The folder of downloads cannot be read.
        """
        variants = choice.model.variants if choice.variant is None else (choice.variant,)
        units = self._units()
        own = [self._local(choice.model, variant, units) for variant in variants]
        if not choice.model.demo and variants and all(one.path is not None for one in variants):
            # Files that were named as such: no other file is meant.
            here = [local for local in own if local is not None]
            return preferred(here, (choice.model,))[0] if here else None
        wanted = choice.variant.quantization.upper() if choice.variant is not None else None

        def fitting(found: Iterable[Found]) -> list[LocalModel]:
            return [
                local
                for local in self._usable((choice.model,), found)
                if local.model.id == choice.model.id
                and wanted in {None, local.variant.quantization.upper()}
            ]

        # What was found before is looked at first: it saves the walk through every folder.
        places: tuple[Callable[[], list[LocalModel]], ...] = (
            lambda: [local for local in own if local is not None],
            lambda: fitting(self._recalled()),
            lambda: fitting(self._discover().found if self._places else ()),
        )
        altered: list[LocalModel] = []
        for place in places:
            if found := place():
                best = preferred(found, (choice.model,))[0]
                if not best.altered:
                    return best
                altered.append(best)
        return altered[0] if altered else None

    def at(self, path: Path, catalogue: Models) -> LocalModel | None:
        """The model whose first or only file this is; None where it is none, or not complete.

        Raises:
            FileError: The folder of downloads cannot be read.
        """
        for local in self._own(catalogue.models):
            if local.path == path:
                return local
        reading = self._cache.read(path)
        self._cache.save()
        found = self._as_found(reading)
        if found is None:
            return None
        # Its name may have to tell it from another file.
        known = self._usable(catalogue.models, self._recalled())
        same = next((local for local in known if local.path == path), None)
        return same or local_model(found, catalogue.models)

    def beyond(self, catalogue: Models) -> tuple[Model, ...]:
        """What is here but not in the catalogue, as far as is known without a search.

        Also models of the catalogue, with the variants that it does not list.
        """
        listed = {(m.id, v.quantization.upper()) for m in catalogue.models for v in m.variants}
        unlisted: dict[str, Model] = {}
        for local in self._usable(catalogue.models, self._recalled()):
            model, quantization = local.model, local.variant.quantization.upper()
            known = unlisted.get(model.id, replace(model, variants=()))
            taken = {v.quantization.upper() for v in known.variants}
            if quantization not in taken and (model.id, quantization) not in listed:
                unlisted[model.id] = replace(known, variants=(*known.variants, local.variant))
        return tuple(unlisted.values())

    def unit(self, local: LocalModel) -> Unit | None:
        """The download that a model is; None where it is not ours."""
        # One of our folders may lie within another.
        around = [folder for folder in self.folders if local.path.is_relative_to(folder)]
        folder = max(around, key=lambda folder: len(folder.parts), default=None)
        return downloaded.unit_at(folder, local.path) if folder is not None else None

    def partials(self) -> tuple[Partial, ...]:
        """Downloads that were stopped, the latest first.

        Raises:
            FileError: The folder cannot be read.
        """
        return downloaded.partials(self.directory)

    def remove(self, local: LocalModel) -> int:
        """Delete a downloaded model; an imported file is forgotten and stays where it is.

        Returns:
            How many bytes became free.

        Raises:
            FileError: It is not one of our downloads, or cannot be deleted.
        """
        unit = self.unit(local)
        if unit is not None:
            names = [name for name, _ in unit.sidecar.unit]
            freed = downloaded.delete(unit.folder, unit.sidecar.repository, names)
            self.records.forget(*unit.paths)
            return freed
        if self.records.read().of(local.path).imported:
            self.records.note(local.path, imported=False)
            return 0
        if local.model.demo:
            raise FileError(f"{local.path} is not removed.", "The demo is a part of localr1.")
        owner = "" if local.place in {OWN, ADDED, IMPORTED} else f" It belongs to {local.place}."
        raise FileError(
            f"{local.path} is not removed.",
            f"It was not downloaded by localr1.{owner}",
            "Delete it with the program that put it there.",
        )

    def remove_left(self, path: Path) -> int:
        """Delete a download of ours that is no usable model.

        Returns:
            How many bytes became free; 0 where it is not ours, or is usable.

        Raises:
            FileError: It cannot be deleted.
        """
        note = read_sidecar(path)
        usable = self._cache.read(path).state == "complete"
        around = [folder for folder in self.folders if path.is_relative_to(folder)]
        if note is None or usable or not around:
            return 0
        names = [name for name, _ in note.unit]
        folder = max(around, key=lambda folder: len(folder.parts))
        if path not in [target_path(folder, note.repository, name) for name in names]:
            return 0
        return downloaded.delete(folder, note.repository, names)

    def stopped_copies(self) -> tuple[Path, ...]:
        """What copies that were stopped have left; the same command goes on with it.

        Raises:
            FileError: A folder cannot be read.
        """
        return tuple(path for folder in self.folders for path in downloaded.stopped_copies(folder))

    def remove_partial(self, partial: Partial) -> int:
        """Delete what a stopped download has left, finished shards included.

        Returns:
            How many bytes became free.

        Raises:
            FileError: It cannot be deleted.
        """
        return downloaded.delete(self.directory, partial.repository, partial.files)

    def _units(self) -> list[Unit]:
        return [unit for folder in self.folders for unit in downloaded.units(folder)]

    def _own(self, models: Iterable[Model]) -> list[LocalModel]:
        """Every variant of the catalogue that we downloaded or that came with localr1."""
        units = self._units()
        return [
            local
            for model in models
            for variant in model.variants
            if (local := self._local(model, variant, units)) is not None
        ]

    def _local(self, model: Model, variant: Variant, units: Sequence[Unit]) -> LocalModel | None:
        if model.demo or variant.path is not None:
            path = variant.path or self._demo
            with suppress(OSError):
                if path.is_file():
                    size = sum(shard.stat().st_size for shard in shard_paths(path))
                    tool = OWN if model.demo else self._tool_of(path)
                    return LocalModel(model, variant, path, size, tool, self.is_altered(path))
            return None
        for unit in units:
            if unit.holds(variant):
                altered = self.is_altered(unit.path)
                return LocalModel(model, variant, unit.path, unit.size_bytes, OWN, altered)
        return None

    def _discover(self) -> Discovery:
        own = [Place(OWN, folder) for folder in self.folders] if self._places else []
        found = discover([*own, *self._places], self._imported(), self._cache)
        return replace(found, found=tuple(self._best_first(one)[0] for one in found.found))

    def _best_first(self, first: Found) -> list[Found]:
        """Copies of one file, those that a check proved first, and those found altered last.

        All have the first's name, whichever of them is used.
        """
        copies = [replace(one, name=first.name, named_by=first.path) for one in first.copies]
        order = sorted([replace(first, copies=()), *copies], key=self._doubt)
        return [replace(order[0], copies=tuple(order[1:])), *order[1:]]

    def _doubt(self, found: Found) -> int:
        return _STANDINGS.index(self._standing(found.path))

    def _standing(self, path: Path) -> Standing:
        """What the checks of a model's files say: the worst of its shards'."""
        recorded = self.records.read()
        with suppress(OSError):
            known = [standing(recorded.checked(shard), shard.stat()) for shard in shard_paths(path)]
            return max(known, key=_STANDINGS.index)
        return "unknown"

    def is_altered(self, path: Path) -> bool:
        """Whether a check found that a model's files are not what they should be."""
        return self._standing(path) == "altered"

    def _imported(self) -> list[Path]:
        files = self.records.read().files.items()
        return [Path(name) for name, record in files if record.imported]

    def _recalled(self) -> list[Found]:
        """What was found before and is still there, the preferred first."""
        found = [self._as_found(reading) for reading in self._cache.recall()]
        ranks = {place.tool: rank for rank, place in reversed(list(enumerate(self._places)))}
        ranks[OWN] = -1
        known = [one for one in found if one is not None]
        known.sort(key=lambda one: (ranks.get(one.tool, len(ranks)), str(one.path)))
        return [one for group in together(known) for one in self._best_first(group)]

    def _as_found(self, reading: Reading) -> Found | None:
        if reading.state != "complete" or reading.gguf is None:
            return None
        tool = self._tool_of(reading.path)
        return Found(tool, reading.gguf, reading.name, reading.r1, reading.digest)

    def _tool_of(self, path: Path) -> str:
        if any(path.is_relative_to(folder) for folder in self.folders):
            return OWN
        tools = (place.tool for place in self._places if path.is_relative_to(place.folder))
        return next(tools, IMPORTED)

    def _usable(self, models: Sequence[Model], found: Iterable[Found]) -> list[LocalModel]:
        """Files to offer: the R1 family's, and whatever the user brought in."""
        imported = {str(path) for path in self._imported()}
        usable: list[tuple[Found, LocalModel]] = []
        for one in found:
            brought = one.tool in {OWN, ADDED} or str(one.path) in imported
            if not one.r1 and not brought:
                continue
            if one.tool == IMPORTED and not brought:
                continue  # once looked at by its path, not taken in
            # Another program may remove its file at any moment.
            with suppress(FileError):
                local = local_model(one, models)
                usable.append((one, replace(local, altered=self.is_altered(one.path))))
        return distinct(usable, models)
