"""One platform on the cluster for all its tests: its servers and pods take a minute to start."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.cluster.deployment import ClusterPlatform, cluster_platform, reachable_host


@pytest.fixture(scope="session")
def platform() -> Iterator[ClusterPlatform]:
    """The platform, with its daemon running."""
    host = reachable_host()
    if host is None:
        pytest.skip(
            "NO CLUSTER: set KUBECONFIG, and PLATFORM_TEST_HOST to this machine's address as pods see it"
        )
    # Not below pytest's own folder: it shuts that to other users, and Postgres runs as one.
    with TemporaryDirectory(prefix="platform-cluster-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        with cluster_platform(Path(folder), host) as made:
            yield made
