"""The one root of every error this platform raises on purpose.

PlatformError
├── ResourceError        an outside system refused or is unreachable       resources/
├── ManifestError        a manifest is wrong: file, line, field            platform_assets/manifest.py
├── YamlError            a value has no form in YAML                      platform_assets/yaml_writer.py
├── LedgerError          an entry cannot be written or believed            platform_assets/ledger/
├── GovernanceError      verdicts, releases, lineage, subjects             platform_assets/governance/
├── SketchError          a sketch cannot be made, read or compared         platform_assets/sketch/
├── ReadingError         a file is not what its ending says                 platform_assets/reading/
├── DatasetError         a source is missing, garbled or refused           platform_assets/datasets/
├── FeatureError         features cannot be made of what is there          platform_assets/features/
├── TrainingError        training cannot start or went wrong               platform_assets/models/
├── InstanceError        a model is asked what it cannot answer            platform_assets/models/
├── ValidationError      a report cannot be made                           platform_assets/validation/
├── CardError            a card lacks what it must say                     platform_assets/model_cards/
├── ServingError         a release cannot be served as described           platform_assets/serving/
├── TuningError          a study cannot be run, or came to nothing         platform_assets/tuning/
├── DriftError           a profile, a stream or a policy is no good        platform_assets/drift/
├── ScaffoldError        no line can be drafted from these data            platform_assets/scaffold/
├── TaskError            there is no such task, or it cannot be loaded     platform_assets/tasks/
├── LineError            a line is not there, or cannot be told apart      platform_assets/lines/
├── RunError             a run cannot start, or came to nothing            platform_assets/lines/
├── ExportError          a line cannot be exported                         platform_assets/export/
├── ArgumentError        an argument, or a setting, is no text             platform_assets/cli/
├── TriggerError         a trigger file is wrong                           sensors/
├── CelError             a filter of a trigger cannot be evaluated         sensors/
└── PushRejectedError    what was pushed cannot be trained                 sensors/

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
