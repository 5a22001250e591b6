"""What Dagster has a place for beside what an asset is: whose it is, how fresh, of what line, and where it is written."""

import inspect
import re
import warnings
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import dagster as dg

from platform_assets.lines.line import Line
from platform_assets.outside_systems import OutsideSystems
from platform_assets.tasks.training_spec import FreshnessSpec
from resources.dagster_home import LINE_TAG
from resources.web_links import INSTALLATION, WebLinks, web_links

CODE_REFERENCES: Final = "dagster/code_references"
TASK_TAG, STAGE_TAG, GDPR_TAG = "platform/task", "platform/stage", "platform/gdpr-class"
Links = Callable[[Path], WebLinks | None]
_EMAIL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._%+-]*@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}")
"""An address as Dagster takes it; by any other, it would load no asset of anybody."""
_NO_TEAM: Final = re.compile(r"[^a-z0-9_.-]+")


def owner_of(stated: str) -> str:
    """An owner as Dagster has them: an e-mail address that it takes as it is, anything else as a team.

    Args:
        stated: As a spec has it: `risk-control`, `Risk Control`, `team:risk-control`, `ana@acme.com`.
    """
    name = stated.strip()
    if _EMAIL.fullmatch(name):
        return name
    return f"team:{_NO_TEAM.sub('-', name.lower().removeprefix('team:')).strip('-') or 'unnamed'}"


def with_conventions(
    assets: Iterable[dg.AssetsDefinition], line: Line, outside: OutsideSystems, links: Links
) -> list[dg.AssetsDefinition]:
    """The assets of a line with what its spec says about all of them.

    Args:
        assets: They.
        line: The line.
        outside: Knows where people read about it.
        links: To files of a folder.
    """
    path, spec = line.manifest.path.absolute(), line.spec
    of_spec = links(path.resolve().parent)
    address = of_spec and of_spec.link(path)
    name = f"{path.parent.name}/{path.name}"
    declared = f"[{name}]({address})" if address else f"`{name}`"
    about = (
        f"Of [{line.name}]({outside.line_url(line.name)}), declared in {declared}: {spec.description}".rstrip(
            ": "
        )
    )

    def described(asset: dg.AssetSpec) -> dg.AssetSpec:
        stage = asset.key.to_python_identifier().removeprefix(f"{line.name}_")
        return asset.merge_attributes(
            owners=[owner_of(spec.card.owner)],
            tags={
                LINE_TAG: line.name,
                TASK_TAG: line.task.name,
                STAGE_TAG: stage,
                GDPR_TAG: spec.gdpr_class,
            },
        ).replace_attributes(
            description=f"{asset.description}\n\n{about}",
            freshness_policy=_policy(spec.freshness.get(stage)),
        )

    return [with_code(each.map_asset_specs(described), links, also=path) for each in assets]


def _policy(stated: FreshnessSpec | None) -> dg.FreshnessPolicy | None:
    if stated is None:
        return None
    warned = None if stated.warn_after_days is None else timedelta(days=stated.warn_after_days)
    return dg.FreshnessPolicy.time_window(
        fail_window=timedelta(days=stated.fail_after_days), warn_window=warned
    )


def links_of(outside: OutsideSystems) -> Links:
    """Links to the files of folders, as the settings have them; Git is asked once for all that is installed."""
    known = cache(partial(web_links, template=outside.settings.code_url))
    return lambda folder: known(INSTALLATION if folder.is_relative_to(INSTALLATION) else folder)


def with_code(asset: dg.AssetsDefinition, links: Links, *, also: Path | None = None) -> dg.AssetsDefinition:
    """The asset with references to its code: on the web as it is in the commit that runs, else on this machine.

    Args:
        asset: Made of a function.
        links: To files of a folder.
        also: What it is declared in.
    """
    # What line and transformer modules decorate is wrapped by the house's own decorator.
    code: Any = inspect.unwrap(asset.op.compute_fn.decorated_fn).__code__  # type: ignore[union-attr]
    written = [(Path(code.co_filename), code.co_firstlineno), *([(also, 1)] if also else [])]
    with warnings.catch_warnings():
        # Both classes are in beta; the pin of Dagster is exact.
        warnings.simplefilter("ignore", dg.BetaWarning)
        references = dg.CodeReferencesMetadataValue(
            code_references=[_reference(file, line, links) for file, line in written]
        )
    return asset.map_asset_specs(lambda spec: spec.merge_attributes(metadata={CODE_REFERENCES: references}))


def _reference(file: Path, line: int, links: Links) -> dg.LocalFileCodeReference | dg.UrlCodeReference:
    shown = links(file.resolve().parent)
    if shown and (address := shown.link(file, line)):
        return dg.UrlCodeReference(url=address, label=file.name)
    return dg.LocalFileCodeReference(file_path=str(file), line_number=line, label=file.name)
