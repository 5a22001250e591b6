"""One platform on the cluster for all its tests: its servers and pods take a minute to start."""

from collections.abc import Iterator

import pytest

from tests.cluster.platform import ClusterPlatform, cluster_platform, reachable_host


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterPlatform]:
    """The platform, with its daemon running."""
    host = reachable_host()
    if host is None:
        pytest.skip(
            "NO CLUSTER: set KUBECONFIG, and PLATFORM_TEST_HOST to this machine's address as pods see it"
        )
    folder = tmp_path_factory.mktemp("cluster")
    with cluster_platform(folder, host) as made:
        yield made
