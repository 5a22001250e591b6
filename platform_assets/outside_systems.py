"""The outside systems that the settings choose, behind one door.

Each entry (a command, the definitions, a step's process, a sensor, a server) makes one `OutsideSystems` and hands on
that object or its members. Nothing is connected to before it is used.
"""

import os
from functools import cached_property
from typing import Final

from platform_assets.ledger.denial_log import DenialLog
from platform_assets.ledger.denials import Denials
from platform_assets.ledger.ledger import Ledger
from resources.cluster import ClusterJobs
from resources.custom_objects import ClusterObjects
from resources.iceberg_warehouse import IcebergWarehouse
from resources.locks import FileLocks, Locks, PostgresLocks
from resources.model_registry import MlflowRegistry
from resources.object_store import LocalObjectStore, ObjectStore, checked_key
from resources.policed_object_store import PolicedObjectStore
from resources.policy_engine import RegoEngine
from resources.row_salt import row_salt
from resources.run_tracking import RunTracking
from resources.s3_object_store import S3ObjectStore
from resources.settings import LockSettings, PlatformSettings

_REGION_VARIABLES: Final = {"AWS_DEFAULT_REGION", "AWS_REGION"}


class OutsideSystems:
    """Everything outside this process that the platform reads or writes, in the name of the settings' principal."""

    def __init__(self, settings: PlatformSettings) -> None:
        """Touches nothing yet."""
        self.settings = settings

    @property
    def env(self) -> str:
        """The environment that objects lie under."""
        return self.settings.env

    @property
    def principal(self) -> str:
        """Who acts."""
        return self.settings.principal.user

    def report_url(self, key: str) -> str:
        """The address at which people open the object under `key`, if the policy lets them."""
        return f"{self.settings.reports_url}/objects/{checked_key(key)}"

    def quarantine_url(self, line: str) -> str:
        """The address of the page of what a line holds back."""
        return f"{self.settings.reports_url}/quarantine/{line}"

    def line_url(self, line: str) -> str:
        """The address of a line's page on the report server."""
        return f"{self.settings.reports_url}/lines/{line}"

    @cached_property
    def salt(self) -> bytes:
        """Of the hashes by which rows and subjects are known."""
        return row_salt(self.settings.home)

    @cached_property
    def ledger(self) -> Ledger:
        """What was decided."""
        return Ledger.open(self.settings.ledger_uri or self.settings.ledger_path, principal=self.principal)

    @cached_property
    def locks(self) -> Locks:
        """What holds writers apart."""
        return open_locks(self.settings)

    @cached_property
    def warehouse(self) -> IcebergWarehouse:
        """The versioned tables; on S3, behind the same server as the objects."""
        settings, properties = self.settings, {}
        if settings.resolved_warehouse_uri.startswith("s3://"):
            # Keys come from the AWS_* environment, as for every S3 library; they are no settings.
            properties["s3.region"] = settings.s3_region
            # Before it looks at the region that it is given, the AWS SDK looks for one of its own, and at last asks the
            # machine's metadata service. In a pod nobody answers there: three seconds for each file system.
            if not _REGION_VARIABLES & os.environ.keys():
                os.environ["AWS_DEFAULT_REGION"] = settings.s3_region
            if settings.s3_endpoint:
                properties["s3.endpoint"] = settings.s3_endpoint
        return IcebergWarehouse(
            settings.resolved_catalog_uri,
            settings.resolved_warehouse_uri,
            locks=self.locks,
            properties=properties,
        )

    @cached_property
    def denials(self) -> Denials:
        """Takes what the policy denies."""
        settings = self.settings
        return Denials(
            DenialLog(settings.denials_path), lambda: self.ledger, lasting=settings.profile == "local"
        )

    @cached_property
    def policy_engine(self) -> RegoEngine:
        """Decides what the principal may do."""
        return RegoEngine()

    @cached_property
    def object_store(self) -> ObjectStore:
        """The classified objects, as far as the policy lets the principal; denials are recorded."""
        settings = self.settings
        store: ObjectStore
        if settings.objects_uri:
            store = S3ObjectStore(
                settings.objects_uri,
                endpoint=settings.s3_endpoint,
                region=settings.s3_region,
                cache=settings.home / "objects-cache",
            )
        else:
            store = LocalObjectStore(settings.objects_path)
        return PolicedObjectStore(
            store, self.policy_engine, settings.principal, on_denial=self.denials.record
        )

    @cached_property
    def model_registry(self) -> MlflowRegistry:
        """The registered versions."""
        return MlflowRegistry(self.settings.resolved_tracking_uri, locks=self.locks)

    @cached_property
    def run_tracking(self) -> RunTracking:
        """Where trainings tell what they do."""
        return RunTracking(self.settings.resolved_tracking_uri)

    def job_runner(self) -> ClusterJobs:
        """Jobs beside the pod of this process; only a pod has them."""
        return ClusterJobs.of_this_pod()

    def custom_objects(self, *, api_version: str, plural: str) -> ClusterObjects:
        """Objects of a kind beside the pod of this process; only a pod has them."""
        return ClusterObjects.of_this_pod(api_version=api_version, plural=plural)


def open_locks(settings: LockSettings) -> Locks:
    """The locks alone, for who needs nothing else: in the database that machines share, else files of this one."""
    uri = settings.locks_uri or settings.ledger_uri
    return PostgresLocks(uri) if uri else FileLocks(settings.locks_path)
