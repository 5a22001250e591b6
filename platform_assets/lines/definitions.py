"""What Dagster needs of lines: their assets, as their active releases have adapted them, their jobs and resources."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import dagster as dg

from platform_assets.datasets.contract import Contract
from platform_assets.datasets.schema_breaker import require_closed
from platform_assets.features.assets import broken_transformer_asset, transformer_asset
from platform_assets.features.daily_assets import daily_asset
from platform_assets.features.declared import DeclaredTransformer, Transformers
from platform_assets.features.pod import pod_tags
from platform_assets.ledger.ledger import Ledger
from platform_assets.lines.assets import broken_line_asset, line_assets, line_jobs
from platform_assets.lines.conventions import links_of, with_code, with_conventions
from platform_assets.lines.line import BrokenLine, Line, LineError
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import AssetReference
from platform_assets.step import IO_MANAGER, ReferenceIOManager, lost_pod_policy

_LOST_POD_RETRIES: Final = 3


def platform_resources(outside: OutsideSystems) -> dict[str, Any]:
    """What assets are given: the outside systems, and how references travel."""
    return {
        "outside": outside,
        # Whatever is built on a dataset gets it through here, so an open breaker stops all of it.
        IO_MANAGER: ReferenceIOManager(admit=lambda reference: _admit(outside.ledger, reference)),
    }


def _admit(ledger: Ledger, reference: AssetReference) -> None:
    for dataset in reference.dataset_assets:
        require_closed(ledger, dataset)


def _transformer_assets(
    declared: DeclaredTransformer,
    contracts: Mapping[str, Contract],
    op_tags: Mapping[str, Any] | None,
    retry_policy: dg.RetryPolicy | None,
) -> Iterator[dg.AssetsDefinition]:
    """The asset of a transformer, and beside it that of its days where the contract is known that judges them."""
    contract = contracts.get(str(declared.spec.dataset))
    yield transformer_asset(declared, contract, op_tags=op_tags, retry_policy=retry_policy)
    if declared.days is not None and contract is not None:
        yield daily_asset(declared, declared.days, contract)


def _made_elsewhere(dataset: str) -> dg.AssetSpec:
    return dg.AssetSpec(dataset).with_io_manager_key(IO_MANAGER)


def adapted_lines(lines: Sequence[Line], ledger: Ledger) -> tuple[list[Line], list[BrokenLine]]:
    """The lines as their active releases have adapted them, and those that cannot be."""
    sound, stuck = [], []
    for line in lines:
        try:
            sound.append(line.adapted(ledger))
        except LineError as problem:
            stuck.append(BrokenLine(line.manifest.path, line.name, str(problem)))
    return sound, stuck


def line_definitions(
    outside: OutsideSystems,
    lines: Sequence[Line],
    broken: Sequence[BrokenLine] = (),
    *,
    transformers: Transformers | None = None,
    loggers: Mapping[str, dg.LoggerDefinition] | None = None,
) -> dg.Definitions:
    """Definitions of these lines, and of nothing else.

    Args:
        outside: The systems.
        lines: The lines, as their files have them.
        broken: Specs that declare none; they are shown, and why.
        transformers: Those that are served whoever uses them; by default only what the lines use.
        loggers: Of runs; Dagster's own by default.
    """
    served = dict(transformers.sound) if transformers else {}
    served |= {name: each for line in lines for name, each in line.transformers.items()}
    read = {each.spec.dataset for each in served.values() if each.spec.dataset}
    lost_pod_retries = _LOST_POD_RETRIES if outside.settings.profile == "cluster" else 0
    tags = pod_tags(outside.settings)
    retries = lost_pod_policy(lost_pod_retries) if tags else None
    sound, stuck = adapted_lines(lines, outside.ledger)
    links = links_of(outside)
    contracts = {f"{line.name}_dataset": line.contract for line in sound}
    return dg.Definitions(
        assets=[
            *(
                asset
                for line in sound
                for asset in with_conventions(
                    line_assets(line, lost_pod_retries=lost_pod_retries), line, outside, links
                )
            ),
            *map(broken_line_asset, (*broken, *stuck)),
            *(
                with_code(asset, links, also=None if each.of_cluster else Path(each.place))
                for each in served.values()
                for asset in _transformer_assets(each, contracts, tags or None, retries)
            ),
            # Of a line that is not among these: its newest version is read all the same.
            *map(_made_elsewhere, sorted(read - {f"{line.name}_dataset" for line in sound})),
            *map(broken_transformer_asset, transformers.broken if transformers else ()),
        ],
        jobs=[job for line in sound for job in line_jobs(line)],
        resources=platform_resources(outside),
        loggers=loggers,
    )
