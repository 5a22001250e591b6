"""All findings, in the order in which they are shown."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from platform_assets.doctor.cluster import probes_of_cluster
from platform_assets.doctor.configuration import settings_in_force, unknown_variables, without_secrets
from platform_assets.doctor.findings import Finding, Status, side_by_side
from platform_assets.doctor.machine import probes_of_machine
from platform_assets.doctor.systems import probes_of_systems
from resources.settings import PlatformSettings

_NOTICED_SECONDS: Final = 5.0
_HARMFUL_SECONDS: Final = 300.0
"""S3 refuses what is signed a quarter of an hour away, and a ledger no checkpoint of five minutes in the future."""
_CLOCK_ADVICE: Final = "let this machine's clock follow a time server: timedatectl set-ntp true"


def diagnose(settings: PlatformSettings | str, environment: Mapping[str, str] = os.environ) -> list[Finding]:
    """What there is to say of this machine, of the settings, and of all that they name, within some seconds.

    Args:
        settings: Those in force; or in one sentence why there are none, and nothing that they name can be looked at.
        environment: Where settings and credentials come from.
    """
    temporary = Path(environment.get("TMPDIR") or "/tmp")  # noqa: S108 - Python's own way tries to write there
    home = _home_of(settings, environment)
    probes = probes_of_machine(home, temporary)
    if isinstance(settings, str):
        told = [
            Finding(
                "settings",
                "settings",
                "problem",
                settings,
                "correct it; `platform-assets doctor` then looks at the rest",
            )
        ]
    else:
        told = list(settings_in_force(settings, environment))
        probes += [*probes_of_systems(settings, environment), *probes_of_cluster(settings)]
    found = side_by_side(probes)
    of_machine = [each for each in found if each.area == "machine"]
    of_systems = [each for each in found if each.area != "machine"]
    everything = [
        *of_machine,
        clock(of_systems),
        *told,
        *unknown_variables(environment),
        *of_systems,
    ]
    return [
        replace(
            each,
            told=without_secrets(each.told, environment),
            advice=without_secrets(each.advice, environment),
        )
        for each in everything
    ]


def clock(systems: list[Finding]) -> Finding:
    """Whether this machine's clock agrees with those of the systems that were asked."""
    skews = {each.subject: each.skew_seconds for each in systems if each.skew_seconds is not None}
    if not skews:
        return Finding("machine", "clock", "not used", "nothing that answered told the time")
    subject, worst = max(skews.items(), key=lambda each: abs(each[1]))
    if abs(worst) < _NOTICED_SECONDS:
        return Finding(
            "machine",
            "clock",
            "ok",
            f"within {_NOTICED_SECONDS:g} s of {', '.join(skews)}",
            skew_seconds=-worst,
        )
    told = f"{abs(worst):,.0f} s {'behind' if worst > 0 else 'ahead of'} {subject}"
    status: Status = "problem" if abs(worst) >= _HARMFUL_SECONDS else "warning"
    return Finding("machine", "clock", status, told, _CLOCK_ADVICE, -worst)


def _home_of(settings: PlatformSettings | str, environment: Mapping[str, str]) -> Path:
    if not isinstance(settings, str):
        return settings.home
    return Path(environment.get("PLATFORM_HOME") or ".platform").expanduser().absolute()
