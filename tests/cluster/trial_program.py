"""What a trial's pod runs in the tests of a cluster: three reports, two seconds apart.

python -u tests/cluster/trial_program.py NAME RATE
"""

import sys
import time
from datetime import UTC, datetime

for epoch in range(3):
    told = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    print(f"{told} auc={float(sys.argv[2]) + epoch / 10}", flush=True)
    time.sleep(2)
