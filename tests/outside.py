"""Outside systems of which a test gives some itself."""

from typing import Any

from platform_assets.outside_systems import OutsideSystems
from resources.settings import PlatformSettings


def outside_with(settings: PlatformSettings, **given: Any) -> OutsideSystems:
    """The systems of these settings, with members such as `ledger` or `object_store` that stand ready."""
    outside = OutsideSystems(settings)
    for name, member in given.items():
        setattr(outside, name, member)
    return outside
