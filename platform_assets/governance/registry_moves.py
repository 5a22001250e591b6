"""The model registry says what the ledger has decided: stages, aliases and tags of a line's versions.

The ledger's entry is the act, and the registry follows. A process that is killed in between, or a registry that is away,
leaves it behind; whoever starts next lets it follow. What it says is compared and changed under a lock, and the ledger is
read under that lock, so it ends at what the ledger says in whatever order the acts came.
"""

from typing import Final

from platform_assets.governance import release as releases
from platform_assets.governance.release import Release
from platform_assets.ledger.ledger import Ledger
from resources.locks import LockError
from resources.model_registry import ModelRegistry, RegistryError, ShownModel, Stage

DEPLOYED_ALIAS: Final = "deployed"
"""Names what is in production, as it did before there were stages."""
STAGE_TAG: Final = "stage"
_LIVE: Final = frozenset({"Production", "Staging"})


class VersionGoneError(RegistryError):
    """The registry lacks a version that is in a stage, and says all the rest."""


def reconcile(registry: ModelRegistry, ledger: Ledger, line: str) -> bool:
    """Lets the registry say which versions of a line are in production and in staging, and archives the others.

    Returns:
        Whether it said anything else before.

    Raises:
        VersionGoneError: It lacks a version that the ledger names; of the others it says what the ledger does.
        RegistryError: It does not answer, or refuses.
        LockError: Somebody else held it for too long.
    """
    if releases.newest_move(ledger, line) is None:
        return False
    with registry.moving(line):
        production = releases.active(ledger, line)
        staged = releases.active(ledger, line, "staging")
        shown = registry.shown(line)
        there = [each if each and _number(each) in shown.versions else None for each in (production, staged)]
        moves = [move(registry, shown, line, *there) for move in (_move_stages, _move_aliases, _move_tags)]
        for release, found in zip((production, staged), there, strict=True):
            if release is not None and found is None:
                raise VersionGoneError(
                    f"version {_number(release)} of model {line} is not in the registry, and the ledger says that release "
                    f"{release.release_id} has it; what is served needs no registry: restore it there, or bring another "
                    "version in its place"
                )
        return any(moves)


def follow(registry: ModelRegistry, ledger: Ledger, line: str) -> str:
    """As `reconcile`; why the registry could not follow, or empty where it did: the ledger's word stands without it."""
    try:
        reconcile(registry, ledger, line)
    except (RegistryError, LockError) as problem:
        return (
            f"the ledger's word on {line} stands, and the registry does not say it yet ({problem}); it follows on the next "
            f"start, e.g. of platform-assets run {line}"
        )
    return ""


def _number(release: Release) -> int:
    return release.card.registered.number


def _wanted(production: Release | None, staged: Release | None) -> dict[int, Stage]:
    """Stage by version; one that is in both is in production."""
    wanted: dict[int, Stage] = {}
    if staged:
        wanted[_number(staged)] = "Staging"
    if production:
        wanted[_number(production)] = "Production"
    return wanted


def _move_stages(
    registry: ModelRegistry, shown: ShownModel, line: str, production: Release | None, staged: Release | None
) -> bool:
    # What the server shows of a stage is None where it has none.
    live = {number: each.stage for number, each in shown.versions.items() if each.stage in _LIVE}
    has_stages = any(each.stage is not None for each in shown.versions.values())
    wanted = _wanted(production, staged) if has_stages else {}
    moves: list[tuple[int, Stage]] = []
    # Production first: its readers are never without one.
    for number, stage in sorted(wanted.items(), key=lambda each: each[1]):
        if live.get(number) != stage or [each for each in live.values() if each == stage] != [stage]:
            moves.append((number, stage))
            live = {each: was for each, was in live.items() if was != stage} | {number: stage}
    moves += [(number, "Archived") for number in live if number not in wanted]
    for number, stage in moves:
        registry.transition(line, number, stage)
    return bool(moves)


def _move_aliases(
    registry: ModelRegistry, shown: ShownModel, line: str, production: Release | None, staged: Release | None
) -> bool:
    wanted = {"production": production, DEPLOYED_ALIAS: production, "staging": staged}
    numbers = {alias: _number(release) if release else None for alias, release in wanted.items()}
    different = {alias: number for alias, number in numbers.items() if shown.aliases.get(alias) != number}
    for alias, number in different.items():
        if number is None:
            registry.unpoint(line, alias)
        else:
            registry.point(line, alias, number)
    return bool(different)


def _move_tags(
    registry: ModelRegistry, shown: ShownModel, line: str, production: Release | None, staged: Release | None
) -> bool:
    wanted = {
        number: {STAGE_TAG: "archived"} for number, each in shown.versions.items() if STAGE_TAG in each.tags
    }
    for release, stage in ((staged, "staging"), (production, "production")):
        if release is not None:
            wanted[_number(release)] = {STAGE_TAG: stage, "release_id": release.release_id}
    changed = False
    for number, tags in wanted.items():
        if shown.versions[number].tags.items() >= tags.items():
            continue
        # Set where it moves, and no more: registering says anew how the gates stand now.
        passed = {"gate_status": "passed"} if "release_id" in tags else {}
        registry.tag(line, number, passed | tags)
        changed = True
    return changed
