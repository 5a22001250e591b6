"""Write k8s/crds/ from the models that it is made of.

python -m scripts.crds            write the file
python -m scripts.crds --check    only tell whether it is what the models say
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from platform_assets.features.transformer_crd import crd
from platform_assets.yaml_writer import to_yaml

FILE: Final = Path(__file__).resolve().parent.parent / "k8s" / "crds" / "featuretransformers.yaml"
_HEADER: Final = """\
# What makes features of columns, as an object of the cluster. Made by `make crds` of the models in
# platform_assets/features/transformer_spec.py and the rules in transformer_crd.py beside it: change those, not this file.
"""


def written() -> str:
    """The file as the models have it now."""
    return _HEADER + to_yaml(crd())


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the file; the exit status."""
    parser = argparse.ArgumentParser(prog="crds", description="The CustomResourceDefinitions of k8s/crds.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing, and fail where something would change"
    )
    parser.add_argument("--file", type=Path, default=FILE, help="where it is")
    asked = parser.parse_args(arguments)
    text = written()
    if asked.file.is_file() and asked.file.read_text(encoding="utf-8") == text:
        print(f"{asked.file.name} is what the models say")
        return 0
    if asked.check:
        print(f"error: {asked.file} is not what the models say; run make crds", file=sys.stderr)
        return 1
    asked.file.write_text(text, encoding="utf-8")
    print(f"{asked.file.name} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
