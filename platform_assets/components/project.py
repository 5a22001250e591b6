"""The lines of one `dg` project, side by side: what they share is there once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from platform_assets.features.declared import BrokenTransformer, declared_transformers
from platform_assets.lines.definitions import line_definitions, platform_resources
from platform_assets.lines.line import Line, LineError, load_lines, with_transformers
from platform_assets.outside_systems import OutsideSystems
from resources.settings import PlatformSettings


def project_settings(root: Path) -> PlatformSettings:
    """The settings of the environment; where it names no home, that is a folder of the project, wherever one stands.

    Args:
        root: The project's folder.
    """
    settings = PlatformSettings()
    if "home" in settings.model_fields_set:
        return settings
    return PlatformSettings(home=root / PlatformSettings.model_fields["home"].default)


@dataclass(frozen=True, slots=True)
class Project:
    """The lines that the components of a project declare."""

    definitions: Mapping[Path, dg.Definitions]
    """Of each line, by its spec; together they have no asset twice, and the same resources."""
    problems: Mapping[Path, str]
    """What is wrong with the other specs."""
    broken: Sequence[BrokenTransformer]
    """Transformers that are none, used or not."""

    @classmethod
    def of(cls, outside: OutsideSystems, specs: Sequence[Path], transformers: Iterable[Path]) -> "Project":
        """The project of these specs and transformers.

        Args:
            outside: The systems.
            specs: Of all its lines, in order: what several of them use is shown with the first of these.
            transformers: Files of transformers, or folders of them; any of the lines may use them.

        Raises:
            LineError: two components have one spec.
        """
        if twice := [spec for spec in specs if specs.count(spec) > 1]:
            raise LineError(f"{twice[0]}: is the spec of two components; keep one")
        declared = declared_transformers(outside, transformers)
        # A dataset that none of these lines makes may be one of another project.
        lines, beside = with_transformers(load_lines(specs), declared, are_all=False)
        return cls(
            _side_by_side(outside, lines.sound),
            {line.path: line.problem for line in lines.broken},
            beside.broken,
        )

    def line_definitions(self, spec: Path, transformers: Iterable[Path]) -> dg.Definitions:
        """Definitions of the line of `spec`.

        Args:
            spec: One of the specs.
            transformers: Files of transformers, or folders of them, that its component names.

        Raises:
            LineError: the spec declares no line, or one of the transformers is none; file, line and field are named.
        """
        files = set(transformers)
        problems = [self.problems[spec]] if spec in self.problems else []
        problems += [
            each.problem
            for each in self.broken
            if not files.isdisjoint({(path := Path(each.place)), path.parent})
        ]
        if problems:
            raise LineError("\n".join(dict.fromkeys(problems)))
        return self.definitions[spec]


def _side_by_side(outside: OutsideSystems, lines: Sequence[Line]) -> dict[Path, dg.Definitions]:
    # Dagster merges definitions only where a resource of one name is one object.
    resources = platform_resources(outside)
    own = {
        line.name: {dg.AssetKey(f"{line.name}_{stage}") for stage in (*line.stages, "drift")}
        for line in lines
    }
    taken = {key for keys in own.values() for key in keys}
    found = {}
    for line in lines:
        alone = line_definitions(outside, [line])
        # Transformers that several lines use, and datasets that these read.
        assets = [
            asset for asset in alone.assets or () if _key(asset) in own[line.name] or _key(asset) not in taken
        ]
        taken |= set(map(_key, assets))
        found[line.manifest.path] = dg.Definitions(assets=assets, jobs=alone.jobs, resources=resources)
    return found


def _key(asset: Any) -> dg.AssetKey:
    key: dg.AssetKey = asset.key
    return key
