"""Checks a manifest against an upstream CRD, in tests; scripts/k8s_schemas.py does the same outside of them.

The upstream CRD files are looked for in the folder named by `CRD_SCHEMAS`, else in `../shared/crds`
beside the repository. Without them the tests that need them skip.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from scripts.k8s_schemas import crd_violations, upstream_crds


def violations(manifest: Mapping[str, Any], *, crd: str) -> list[str]:
    """What is wrong with `manifest` by the CRD file `crd`, one line each; empty when it is valid.

    Skips the calling test where the CRD files are not at hand.
    """
    path = upstream_crds() / crd
    if not path.is_file():
        pytest.skip(f"NOT CHECKED against upstream: no {crd}; set CRD_SCHEMAS to a folder that holds it")
    return crd_violations(manifest, path)
