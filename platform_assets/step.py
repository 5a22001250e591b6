"""What every asset of a line shares with Dagster: how references travel, how foreseen errors end a step.

A leaf above the domains' logic: asset modules import it, logic never does.
"""

import functools
import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, get_args, get_type_hints

import dagster as dg
from dagster import DagsterError
from pydantic import BaseModel, create_model
from pydantic import ValidationError as PydanticValidationError

from platform_assets.manifest import first_problem
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import AssetReference, Reference
from platform_assets.starters import automation_tag, starter_of
from platform_assets.tags import STARTED_BY_TAG
from resources.errors import PlatformError
from resources.outages import outage_of
from resources.unread import unread_trace

REFERENCE_KEY = "reference"
FINGERPRINT_KEY = "fingerprint"
REUSED_KEY = "reused"
IO_MANAGER = "platform_references"
"""Key of the resource by which references travel: not Dagster's default, which is the user's own in any other project."""
_RECORDS_SEARCHED = 25
_RETRY_DELAY_SECONDS = 2.0
_NO_NAME = re.compile(r"[^A-Za-z0-9_]")

R = TypeVar("R", bound=Reference)
S = TypeVar("S", bound=BaseModel)


class ReferenceIOManager(dg.IOManager):
    """Keeps references in the materializations themselves, so that any pod with the event log has them.

    A step reads the reference that its own run has made, or else the newest one. Every asset of a line
    gets its inputs here, so what `admit` refuses is refused to all of them.
    """

    def __init__(self, admit: Callable[[AssetReference], None]) -> None:
        self._admit = admit

    def handle_output(self, context: dg.OutputContext, obj: Reference) -> None:
        """Write the reference into the materialization's metadata."""
        context.add_output_metadata({REFERENCE_KEY: dg.MetadataValue.json(obj.model_dump(mode="json"))})

    def load_input(self, context: dg.InputContext) -> AssetReference:
        """The reference of the upstream asset, if it may be built upon."""
        reference_type: type[AssetReference] = context.dagster_type.typing_type
        with foreseen_failures():
            found = recorded_reference(
                context.instance, context.asset_key, reference_type, run_id=context.step_context.run_id
            )
        if found is None:
            raise dg.Failure(
                f"{context.asset_key.to_user_string()} was never materialized; materialize it first",
                allow_retries=False,
            )
        with foreseen_failures():
            self._admit(found)
        return found


def recorded_reference(
    instance: dg.DagsterInstance, key: dg.AssetKey, reference_type: type[R], *, run_id: str | None = None
) -> R | None:
    """The newest reference of an asset, one made by `run_id` before any other; None before the first."""
    materialization = recorded_materialization(instance, key, run_id=run_id)
    if materialization is None or REFERENCE_KEY not in materialization.metadata:
        return None
    return reference_type.model_validate(materialization.metadata[REFERENCE_KEY].value)


def recorded_materialization(
    instance: dg.DagsterInstance, key: dg.AssetKey, *, run_id: str | None = None
) -> dg.AssetMaterialization | None:
    """The newest materialization of an asset, one made by `run_id` before any other."""
    records = instance.fetch_materializations(key, limit=_RECORDS_SEARCHED if run_id else 1).records
    own = [record for record in records if record.run_id == run_id]
    chosen = (own or records)[:1]
    return chosen[0].asset_materialization if chosen else None


def materialized(
    reference: AssetReference, *, fingerprint: str, metadata: Mapping[str, Any], reused: bool = False
) -> dg.MaterializeResult[Any]:
    """The result of an asset: its reference, data version and what people want to see."""
    return dg.MaterializeResult(
        value=reference,
        data_version=dg.DataVersion(reference.version),
        metadata={**metadata, FINGERPRINT_KEY: fingerprint, REUSED_KEY: reused},
    )


def broken_asset(
    what: str, name: str, problem: str, *, identity: str, group: str, declared: Mapping[str, str]
) -> dg.AssetSpec:
    """What the UI shows of a line or transformer that cannot be loaded: its name, and why. Nothing can materialize it.

    Args:
        what: What it would be.
        name: Its own, if that can be read; several may claim one, or one that no asset can have.
        problem: What is wrong.
        identity: What no other one has.
        group: Of the asset.
        declared: Where it is declared, by the name under which the UI shows that.
    """
    digits = hashlib.sha256(identity.encode()).hexdigest()[:6]
    return dg.AssetSpec(
        dg.AssetKey(f"{_NO_NAME.sub('_', name)}_{digits}"),
        group_name=group,
        description=f"This {what} cannot be loaded, and all others are as they were.\n\n```\n{problem}\n```",
        metadata={**declared, "problem": problem},
        kinds={"broken"},
    )


def line_asset(
    line: str,
    stage: str,
    *,
    description: str,
    kinds: Iterable[str],
    code: str,
    made_from: Mapping[str, str] | None = None,
    checks: Sequence[dg.AssetCheckSpec] = (),
    **more: Any,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """`@dg.asset` with what all assets of a line declare alike.

    With checks, the function is also run for some of them alone (`judged_alone`), on what was materialized last. It
    yields the results of all checks of a materialization, as each is a verdict that is recorded anyway; a run that
    asked for some of them is told of those.

    Args:
        line: The line.
        stage: Which of its assets.
        description: What it is, for people.
        kinds: What it is made with.
        code: Version of the code that makes it.
        made_from: Stage of each input, by parameter.
        checks: What is judged of it.
        **more: As `dg.asset` takes it; with checks as `dg.multi_asset` does.
    """
    name = f"{line}_{stage}"
    ins = {parameter: dg.AssetIn(f"{line}_{before}") for parameter, before in (made_from or {}).items()}

    def declare(function: Callable[..., Any]) -> dg.AssetsDefinition:
        shared: dict[str, Any] = {
            "group_name": line,
            "description": description,
            "kinds": set(kinds),
            "code_version": code,
            "io_manager_key": IO_MANAGER,
        }
        if not checks:
            made: dg.AssetsDefinition = dg.asset(name=name, ins=ins, **shared, **more)(function)
            return made
        # The only form of Dagster's whose checks can be run without their asset.
        return dg.multi_asset(
            name=name,
            outs={"result": dg.AssetOut(key=name, is_required=False, **shared)},
            ins=ins,
            check_specs=checks,
            can_subset=True,
            **more,
        )(_of_wanted_checks(function))

    return declare


def judged_alone(context: dg.AssetExecutionContext) -> frozenset[str]:
    """Names of the checks that a run is about where it does not make their asset; none where it does."""
    if context.selected_asset_keys:
        return frozenset()
    return frozenset(key.name for key in context.selected_asset_check_keys)


def published_reference(context: dg.AssetExecutionContext, key: str, reference_type: type[R]) -> R:
    """The newest reference of an asset, which a check that is run alone speaks about.

    Raises:
        dg.Failure: The asset was never materialized.
    """
    found = recorded_reference(context.instance, dg.AssetKey(key), reference_type)
    if found is None:
        raise dg.Failure(
            f"{key} was never materialized, so there is nothing to judge; materialize it: its checks run with it",
            allow_retries=False,
        )
    return found


def _of_wanted_checks(function: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    @functools.wraps(function)
    def told(context: dg.AssetExecutionContext, *args: Any, **kwargs: Any) -> Iterator[Any]:
        wanted = {key.name for key in context.selected_asset_check_keys}
        for event in function(context, *args, **kwargs):
            if not isinstance(event, dg.AssetCheckResult) or event.check_name in wanted:
                yield event

    return told


def evaluation_of(context: dg.AssetExecutionContext) -> str:
    """Names this attempt: a step that is retried judges again, and may find something else."""
    attempt = context.retry_number
    return f"{context.run.run_id}/{attempt}" if attempt else context.run.run_id


def started_by(context: dg.AssetExecutionContext | dg.OpExecutionContext, salt: bytes) -> str | None:
    """Who started this run, as `starters` tells it; None where nobody can tell."""

    def first_with(value: str) -> str | None:
        found = context.instance.get_run_records(
            dg.RunsFilter(tags={STARTED_BY_TAG: value}), limit=1, ascending=True
        )
        return found[0].dagster_run.run_id if found else None

    return starter_of(context.run, salt, first_with)


def signed_schedule(name: str, job: Any, cron_schedule: str, *, description: str) -> dg.ScheduleDefinition:
    """A schedule that runs from the start, and whose runs say, signed, that it has started them."""

    @dg.schedule(
        name=name,
        job=job,
        cron_schedule=cron_schedule,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
    )
    def signed(
        context: dg.ScheduleEvaluationContext, outside: dg.ResourceParam[OutsideSystems]
    ) -> dg.RunRequest:
        key = f"{name}:{context.scheduled_execution_time.isoformat()}"
        return dg.RunRequest(run_key=key, tags=automation_tag(name, key, {}, outside.salt))

    return signed


@contextmanager
def foreseen_failures() -> Iterator[None]:
    """Ends the step with the message alone on an error that we foresaw; Dagster retries what passes by itself."""
    try:
        yield
    except (dg.Failure, dg.RetryRequested, MemoryError):
        raise
    except Exception as problem:
        foreseen = outage_of(problem) or problem
        if isinstance(foreseen, PlatformError):
            logging.getLogger(__name__).debug("foreseen failure", exc_info=True)
            # Dagster stores what a failure comes from, and a library's message may quote the data.
            raise dg.Failure(description=str(foreseen), allow_retries=foreseen.passes) from None
        if isinstance(problem, DagsterError):
            raise
        # Whatever it is, its message is not stored.
        raise _unforeseen(problem) from None


@contextmanager
def without_retries() -> Iterator[None]:
    """For steps that are tried again when their pod is lost: an error of the code itself would come again."""
    try:
        yield
    except (dg.Failure, DagsterError):
        raise
    except Exception as problem:  # noqa: BLE001 - whatever it is, its message is not stored
        raise _unforeseen(problem) from None


def lost_pod_policy(retries: int) -> dg.RetryPolicy | None:
    """For steps that have a pod: how often one is tried again after it was lost; None for never."""
    if not retries:
        return None
    return dg.RetryPolicy(max_retries=retries, delay=_RETRY_DELAY_SECONDS, backoff=dg.Backoff.EXPONENTIAL)


def _unforeseen(problem: Exception) -> dg.Failure:
    """The end of a step by a bug: where it is, and not its message, which may quote the data."""
    logging.getLogger(__name__).debug("unforeseen failure", exc_info=problem)
    advice = "Its message is not kept, as it may quote the data; it is logged at level DEBUG."
    return dg.Failure(description=f"{unread_trace(problem)}\n{advice}", allow_retries=False)


def override_config(spec: BaseModel, names: Iterable[str]) -> type[dg.Config]:
    """A config class with these fields of the spec and its values as defaults: what one run may change."""
    kinds = get_type_hints(type(spec))
    fields: dict[str, Any] = {}
    for name in names:
        value = getattr(spec, name)
        # Dagster's configuration knows lists and no tuples, and objects but no sections.
        if isinstance(value, tuple):
            fields[name] = (list[get_args(kinds[name])[0]], list(value))  # type: ignore[misc]
        elif isinstance(value, BaseModel):
            fields[name] = (dict[str, Any], value.model_dump(mode="json"))
        else:
            fields[name] = (kinds[name], value)
    return create_model("Overrides", __base__=dg.Config, **fields)


def with_overrides(spec: S, config: dg.Config) -> S:
    """The spec with the values that this run uses instead, checked as strictly as the file itself.

    Raises:
        dg.Failure: a value is out of range, or does not go with others; the message says which.
    """
    try:
        return type(spec).model_validate({**spec.model_dump(), **config.model_dump()})
    except PydanticValidationError as problem:
        raise dg.Failure(f"run config: {first_problem(problem)}", allow_retries=False) from None
