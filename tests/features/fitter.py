"""A process that fits one transformer on a file: `python -m tests.features.fitter TRANSFORMER.yaml`."""

import sys
from pathlib import Path

from platform_assets.features.version_making import make_version
from platform_assets.features.versions import make_latest
from platform_assets.outside_systems import OutsideSystems
from resources.settings import PlatformSettings
from tests.features.shops import declared


def main(path: Path) -> None:
    """Says when it begins, and which bytes it made."""
    (one,) = declared(path).sound.values()
    outside = OutsideSystems(PlatformSettings())
    print("begins", flush=True)
    version = make_version(one, None, outside).version
    make_latest(version, outside.ledger)
    print(version.label, version.sha256, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
