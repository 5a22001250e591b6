"""The reference profiles that releases carry."""

from platform_assets.drift.errors import DriftError
from platform_assets.drift.watch import ProfileOf
from platform_assets.governance import release as releases
from platform_assets.ledger.ledger import Ledger
from platform_assets.sketch.sketch import ReferenceProfile
from resources.object_store import ObjectStore


def released_profiles(ledger: Ledger, store: ObjectStore) -> ProfileOf:
    """Gives the newest release of a line that has a model version, and the profile that came with it."""

    def profile_of(line: str, model_version: int) -> tuple[str, ReferenceProfile]:
        for release in releases.newest_releases(ledger, line):
            registered = release.card.registered
            if registered.number == model_version:
                if registered.report.profile_key is None:
                    raise DriftError(
                        f"release {release.release_id} of {line} was made before releases had reference profiles; "
                        f"make a new one with: platform-assets run {line}"
                    )
                return release.release_id, ReferenceProfile.from_bytes(
                    store.get(registered.report.profile_key)
                )
        raise DriftError(f"{line} has no release of model version {model_version}")

    return profile_of
