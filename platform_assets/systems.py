"""The outside systems that the settings choose. Nothing is connected to before it is used."""

import os
from typing import Final

from platform_assets.governance.access import record_denial
from platform_assets.governance.ledger import Ledger
from resources.cluster import ClusterJobs
from resources.locks import FileLocks, Locks, PostgresLocks
from resources.model_registry import MlflowRegistry
from resources.object_store import LocalObjectStore, ObjectStore
from resources.policed_object_store import PolicedObjectStore
from resources.policy_engine import RegoEngine
from resources.s3_object_store import S3ObjectStore
from resources.settings import LockSettings, PlatformSettings
from resources.warehouse import IcebergWarehouse

_REGION_VARIABLES: Final = {"AWS_DEFAULT_REGION", "AWS_REGION"}


def open_ledger(settings: PlatformSettings) -> Ledger:
    """The ledger, in the name of the settings' principal."""
    return Ledger.open(settings.ledger_uri or settings.ledger_path, principal=settings.principal.user)


def open_locks(settings: LockSettings) -> Locks:
    """What holds writers apart: the database that machines share, else files of this one."""
    uri = settings.locks_uri or settings.ledger_uri
    return PostgresLocks(uri) if uri else FileLocks(settings.locks_path)


def open_model_registry(settings: PlatformSettings) -> MlflowRegistry:
    """The registered versions."""
    return MlflowRegistry(settings.resolved_tracking_uri, locks=open_locks(settings))


def open_job_runner() -> ClusterJobs:
    """Jobs beside the pod of this process."""
    return ClusterJobs.of_this_pod()


def open_warehouse(settings: PlatformSettings) -> IcebergWarehouse:
    """The versioned tables; on S3, behind the same server as the objects."""
    properties = {}
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
        locks=open_locks(settings),
        properties=properties,
    )


def open_object_store(settings: PlatformSettings) -> ObjectStore:
    """The classified objects, as far as the policy lets the settings' principal; denials go into the ledger."""
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
        store,
        RegoEngine(),
        settings.principal,
        on_denial=lambda request, decision: record_denial(open_ledger(settings), request, decision),
    )
