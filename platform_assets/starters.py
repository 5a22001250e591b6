"""Who started a run, as far as a signed tag says.

Open-source Dagster knows no users, so the parts of the platform that start runs say it themselves, in a tag:

    command line   `<principal>/<signature>`, bound to the run's id
    sensors        `automation/<sensor>/<signature>`, bound to the run's key and to its whole configuration
    schedules      `automation/<schedule>/<signature>`, likewise

The signature is an HMAC-SHA256 under the platform's salt, so nobody types a tag in the UI's launchpad who does not have
the salt. Who copies a tag there, or executes a run again, has another run id, or comes after the run that the key was
made for: such a run is started by nobody that is known. A run that is resumed after its process was lost keeps its id.
What a principal is called is a claim of whoever sets the environment of a process; the tag carries it, and proves no more.
"""

import json
from collections.abc import Callable, Mapping
from hmac import compare_digest
from typing import Any, Final, Protocol

from platform_assets.tags import AUTOMATION, STARTED_BY_TAG
from resources.row_salt import salted_hash

_PURPOSE: Final = "platform/started-by/1"
_RUN_KEY_TAG: Final = "dagster/run_key"
"""As Dagster writes it on a run that was asked for with a key."""
_DERIVED_TAGS: Final = ("dagster/parent_run_id", "dagster/root_run_id")
"""On runs that execute another one again."""


class StartedRun(Protocol):
    """A run, as far as it is looked at here."""

    @property
    def run_id(self) -> str:
        """Its id."""

    @property
    def tags(self) -> Mapping[str, str]:
        """Its tags."""

    @property
    def run_config(self) -> Mapping[str, Any]:
        """What it was configured with."""


def person_tag(user: str, run_id: str, salt: bytes) -> dict[str, str]:
    """The tag of a run that this principal starts.

    Args:
        user: The principal's name.
        run_id: The run's.
        salt: The platform's.
    """
    return {STARTED_BY_TAG: f"{user}/{_signature(salt, user, 'run', run_id)}"}


def automation_tag(name: str, run_key: str, run_config: Mapping[str, Any], salt: bytes) -> dict[str, str]:
    """The tag of a run that a sensor or a schedule asks for.

    Args:
        name: The sensor's or the schedule's.
        run_key: What Dagster tells requests apart by.
        run_config: All that the run is configured with.
        salt: The platform's.
    """
    starter = f"{AUTOMATION}{name}"
    return {STARTED_BY_TAG: f"{starter}/{_signature(salt, starter, *_of_request(run_key, run_config))}"}


def starter_of(run: StartedRun, salt: bytes, first_with: Callable[[str], str | None]) -> str | None:
    """Who started a run: a principal's name, or `automation/<name>`, which is no person; None where nobody can tell.

    Args:
        run: The run.
        salt: The platform's.
        first_with: Gives the id of the first run that has this value of the tag.
    """
    value = run.tags.get(STARTED_BY_TAG, "")
    starter, _, signature = value.rpartition("/")
    if not starter or any(tag in run.tags for tag in _DERIVED_TAGS):
        return None
    if not starter.startswith(AUTOMATION):
        return starter if _is(signature, _signature(salt, starter, "run", run.run_id)) else None
    request = _of_request(run.tags.get(_RUN_KEY_TAG, ""), run.run_config)
    if not _is(signature, _signature(salt, starter, *request)):
        return None
    # Key and configuration can be copied with the tag; which run came first cannot.
    return starter if first_with(value) == run.run_id else None


def _of_request(run_key: str, run_config: Mapping[str, Any]) -> tuple[str, str, str]:
    # Twice, so that it is what it will be when it was stored and read: keys are texts then, and can be sorted.
    stored = json.loads(json.dumps(dict(run_config), default=str))
    return "key", run_key, json.dumps(stored, sort_keys=True)


def _signature(salt: bytes, *parts: str) -> str:
    return salted_hash(salt, json.dumps([_PURPOSE, *parts]).encode())


def _is(signature: str, wanted: str) -> bool:
    # A tag may hold any text, and the comparison takes no text beyond ASCII.
    return compare_digest(signature.encode(errors="backslashreplace"), wanted.encode())
