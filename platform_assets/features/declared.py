"""The transformers that files declare, and objects of a cluster: each by its name, and what is wrong with the others."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from platform_assets.features.daily import ENDING, DailyRange, daily_range
from platform_assets.features.errors import FeatureError
from platform_assets.features.transformer_objects import registered_objects
from platform_assets.features.transformer_spec import (
    TRANSFORMERS_FOLDER,
    FeatureTransformer,
    TransformerSpec,
    read_transformer,
)
from platform_assets.manifest import ManifestError, read_yaml
from platform_assets.outside_systems import OutsideSystems
from resources.errors import PlatformError

_ENDINGS: Final = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class DeclaredTransformer:
    """One transformer, and where it stands."""

    content: FeatureTransformer
    place: str
    """The file, or the object of a cluster."""
    ships: bool = False
    """Whether it came with the package: then it belongs to a line that came with it, too."""
    of_cluster: bool = False
    """Whether it is an object of a cluster."""

    @property
    def name(self) -> str:
        """What its asset is called, and lines call it."""
        return self.content.name

    @property
    def spec(self) -> TransformerSpec:
        """What it does."""
        return self.content.spec

    @property
    def days(self) -> DailyRange | None:
        """The days of its features, where it has them by day as well.

        Raises:
            FeatureError: its annotations name none; those of `load_transformers` do.
        """
        return daily_range(self.content)

    @property
    def asset_names(self) -> tuple[str, ...]:
        """What its assets are called."""
        return (self.name,) if self.days is None else (self.name, f"{self.name}{ENDING}")


@dataclass(frozen=True, slots=True)
class BrokenTransformer:
    """A file or object that declares none: it takes down itself and no other."""

    place: str
    name: str
    """As it says itself, where that much can be read; else the name of its file."""
    problem: str
    """What is wrong, with file, line and field."""


@dataclass(frozen=True, slots=True)
class Transformers:
    """What a set of files and objects declares."""

    sound: Mapping[str, DeclaredTransformer] = field(default_factory=dict)
    """By name."""
    broken: tuple[BrokenTransformer, ...] = ()

    def without(self, problems: Mapping[str, str]) -> "Transformers":
        """These, where those with a problem (by name) are broken."""
        gone = tuple(
            BrokenTransformer(self.sound[name].place, name, problem) for name, problem in problems.items()
        )
        left = {name: each for name, each in self.sound.items() if name not in problems}
        return Transformers(left, (*self.broken, *gone))

    def among(self, datasets: Collection[str] | None, taken: Collection[str]) -> "Transformers":
        """These, beside such lines: one whose dataset nobody makes, or whose name is taken, is broken.

        A transformer that ships is left out where the line that it belongs to is not served.

        Args:
            datasets: Names of the dataset assets; None where there may be others, so that nothing is said of them.
            taken: Names of lines and of all other assets, and what else no transformer may be called.
        """

        def lacking(each: DeclaredTransformer) -> str | None:
            dataset = each.spec.dataset
            return dataset if datasets is not None and dataset not in datasets else None

        kept = {name: each for name, each in self.sound.items() if not (each.ships and lacking(each))}
        problems = {}
        for name, each in kept.items():
            if of_days := [own for own in each.asset_names[1:] if own in taken or own in kept]:
                problems[name] = (
                    f"{each.place}: metadata.name: its features by day would be {of_days[0]}, which is the name of a line, of "
                    "an asset or of another transformer; choose another"
                )
            if name in taken:
                problems[name] = (
                    f"{each.place}: metadata.name: {name} is the name of a line or of an asset, or one that the platform keeps "
                    "for itself; choose another"
                )
            elif dataset := lacking(each):
                known = ", ".join(sorted(datasets or ())) or "none"
                problems[name] = f"{each.place}: spec.inputSource: no line makes {dataset}; known are {known}"
        return Transformers(kept, self.broken).without(problems)


def declared_transformers(outside: OutsideSystems, more: Iterable[Path] = ()) -> Transformers:
    """The transformers that files declare, and on a cluster the objects that are registered.

    Args:
        outside: The systems.
        more: Files, or folders of them, besides those of the settings.

    Raises:
        LedgerError: what is registered cannot be read.
    """
    on_cluster = outside.settings.profile == "cluster"
    objects = registered_objects(outside.ledger) if on_cluster else ()
    return load_transformers((*outside.settings.transformers, *more), objects)


def load_transformers(
    paths: Iterable[Path] = (), objects: Iterable[tuple[str, FeatureTransformer]] = ()
) -> Transformers:
    """The transformers of the files that ship, of these files and folders, and of these objects.

    One that is wrong, or that has the name of one before it, is told as broken and leaves the others alone.

    Args:
        paths: Files, or folders of them.
        objects: Of a cluster, with what each is called there.
    """
    sound: dict[str, DeclaredTransformer] = {}
    broken: list[BrokenTransformer] = []

    def add(found: DeclaredTransformer) -> None:
        try:
            daily_range(found.content)
        except FeatureError as refusal:
            broken.append(BrokenTransformer(found.place, found.name, f"{found.place}: {refusal}"))
            return
        if taken := sound.get(found.name):
            problem = (
                f"{found.place}: metadata.name: {found.name} is the name of the transformer in {taken.place}, too; "
                "rename one"
            )
            broken.append(BrokenTransformer(found.place, found.name, problem))
        else:
            sound[found.name] = found

    shipped = _files((TRANSFORMERS_FOLDER,) if TRANSFORMERS_FOLDER.is_dir() else ())
    given = [path for path in _files(paths) if path.resolve() not in {each.resolve() for each in shipped}]
    for path in (*shipped, *given):
        try:
            content = read_transformer(path).content
        except PlatformError as problem:
            broken.append(BrokenTransformer(str(path), _name_in(path), str(problem)))
        else:
            add(DeclaredTransformer(content, str(path), ships=path in shipped))
    for place, content in objects:
        add(DeclaredTransformer(content, place, of_cluster=True))
    return Transformers(sound, tuple(broken))


def _files(paths: Iterable[Path]) -> Sequence[Path]:
    return tuple(dict.fromkeys(file for path in paths for file in _files_of(path)))


def _files_of(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(file for file in path.iterdir() if file.suffix in _ENDINGS)
    else:
        yield path


def _name_in(path: Path) -> str:
    try:
        metadata = read_yaml(path).content.get("metadata")
    except ManifestError:
        metadata = None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return name.replace("-", "_") if isinstance(name, str) else path.stem
