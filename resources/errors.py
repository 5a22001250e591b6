"""The one root of every error this platform raises on purpose.

PlatformError
├── ResourceError          an outside system refused or is unreachable  (resources/)
├── SpecError              a manifest is wrong: file, line, field       (platform_assets/models/)
├── DatasetError           a source is missing, garbled or refused      (platform_assets/datasets/)
├── TrainingError          training cannot start or went wrong          (platform_assets/models/)
├── ValidationError        a report cannot be made                      (platform_assets/validation/)
├── DriftError             a profile, a stream or a policy is no good   (platform_assets/drift/)
├── ScaffoldError          no line can be drafted from these data      (platform_assets/scaffold/)
├── TriggerError           a webhook cannot be made a request           (sensors/)
└── GovernanceError        ledger, verdicts, releases                   (platform_assets/governance/)

A message says what is wrong, where, and what to do. Whoever shows it to a person (the command
line, a Dagster step) prints the message alone; anything else that escapes is a bug and keeps its
traceback.
"""


class PlatformError(Exception):
    """A condition we foresaw: the message is written for the person who must act on it."""

    passes = False
    """Whether the same act may succeed a little later, with nobody doing anything about it."""


class ResourceError(PlatformError):
    """An outside system refused, is misconfigured or cannot be reached."""
