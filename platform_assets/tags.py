"""Tags by which parts of the platform speak to one another through Dagster, as it keeps them."""

from typing import Final

RETRAINING_TAG: Final = "platform/retraining"
"""Names, on a run, the ledger entry of the request that it follows."""
POD_TAG: Final = "dagster-k8s/config"
"""What a step asks of Kubernetes, in dagster-k8s' own form; a step that has it gets a pod of its own."""
MAX_MEMORY_TAG: Final = "platform/max-memory"
"""What a step may have at most after it ran out of memory, e.g. `16Gi`."""
STARTED_BY_TAG: Final = "platform/started-by"
"""Who started a run, signed; `starters` says how, and who can be believed."""
AUTOMATION: Final = "automation/"
"""Begins the name of a starter that is a sensor or a schedule: known, and no person."""
