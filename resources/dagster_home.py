"""The local Dagster instance: its folder and its `dagster.yaml`."""

from pathlib import Path

from resources.settings import PlatformSettings

LINE_TAG = "platform/line"
_DAGSTER_YAML = f"""\
# Written by the platform at every start; change it through DAGSTER_HOME of your own.
telemetry: {{enabled: false}}
nux: {{enabled: false}}
python_logs:
  managed_python_loggers: [platform_assets, resources]
  python_log_level: INFO
concurrency:
  runs:
    # Two runs of one line would do the same work twice.
    tag_concurrency_limits:
      - key: {LINE_TAG}
        value: {{applyLimitPerUniqueValue: true}}
        limit: 1
run_monitoring: {{enabled: true}}
freshness: {{enabled: true}}
"""


def prepare_dagster_home(settings: PlatformSettings) -> Path:
    """The instance's folder, with its `dagster.yaml` in place."""
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    target = home / "dagster.yaml"
    if not target.exists() or target.read_text(encoding="utf-8") != _DAGSTER_YAML:
        incoming = target.with_suffix(".incoming")
        incoming.write_text(_DAGSTER_YAML, encoding="utf-8")
        incoming.replace(target)
    return home
