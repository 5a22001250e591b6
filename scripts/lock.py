"""Write constraints.lock: one resolution of every extra, by version and without hashes.

No hashes, so that a CPU and a CUDA build of the same torch release both serve.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "constraints.lock"
TORCH = "torch==2.13.0"
EXTRAS = "demo,cluster,spark,serving,imaging,dev"
HEADER = f"# Written by `make lock`: what was tested. torch is {TORCH}; any build of it serves.\n"


def main() -> None:
    """Resolve and write the lock."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        subprocess.run([*command, "--report", str(report), TORCH, f"{ROOT}[{EXTRAS}]"], check=True)
        resolved = json.loads(report.read_text(encoding="utf-8"))["install"]
    pins = sorted(f"{each['metadata']['name'].lower()}=={each['metadata']['version']}" for each in resolved)
    # A local version label (2.13.0+cpu) would refuse the other builds; what is CUDA's follows torch's own pins.
    kept = [
        pin.partition("+")[0]
        for pin in pins
        if not pin.startswith(("platform-assets==", "nvidia-", "cuda-", "triton=="))
    ]
    LOCK.write_text(HEADER + "\n".join(kept) + "\n", encoding="utf-8")
    print(f"{LOCK.name}: {len(kept)} packages")


if __name__ == "__main__":
    main()
