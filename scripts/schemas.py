"""Write docs/schemas/ and docs/reference/: what may stand in each kind of manifest, for editors and for people.

python -m scripts.schemas            write the files
python -m scripts.schemas --check    only tell whether they are what the models say
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from platform_assets.datasets.contract import _ContractManifest
from platform_assets.features.transformer_spec import NAME_FORM, FeatureTransformer
from platform_assets.tasks.registry import find_task
from platform_assets.tasks.training_spec import DEFAULT_TASK
from platform_assets.validation.gate import DEMANDED, MIN_DRIFT_ROWS, Rule
from scripts.editor_schema import editor_schema
from scripts.field_reference import reference_page

ROOT: Final = Path(__file__).resolve().parent.parent
DOCS: Final = ROOT / "docs"
TASKS: Final = ROOT / "platform_assets" / "tasks"
_MADE: Final = """\
Every field, made by `make schemas` of the models that read the file.
An editor with a YAML language server tells the same while you write: name [{schema}](../schemas/{schema}) in the
first line of the file, by its path from there, or by a URL:

```yaml
# yaml-language-server: $schema=docs/schemas/{schema}
```

Checks that look at several fields at once are told by the platform, with file, line and field."""

_GATES: Final = {
    "auc": "AUC on the test split.",
    "beats_baseline": "The AUC is at least that of the task's baseline.",
    "score_drift_ks": f"KS distance of the scores, validation against test split; each needs {MIN_DRIFT_ROWS:,} rows.",
    "auc_drop_from_production": "AUC of the version in production, minus that of the model.",
    "auc_drop_by_source": "The same on every other source in training.",
    "ks": "Greatest distance between the scores of both labels.",
    "gini": "2 AUC - 1.",
    "psi": "Population stability index of the scores, validation against test split.",
    "parity_ratio": "Between groups of `fairness`: how often each gets the favourable label, lowest by highest.",
    "parity_difference": "The same, highest minus lowest.",
    "equalized_odds_difference": "Between groups of `fairness`: the larger difference of true and false positive rates.",
    "auc_behind_challenger": "AUC of the challenger, minus that of the scorecard.",
    "auc_gain_from_transformers": "AUC of the model, minus that of the same model trained without what transformers make.",
    "coefficients_agree": "No coefficient of a scorecard says the opposite of its characteristic.",
    "sensitivity_at_90_specificity": "Share of findings that are found at the threshold that keeps 90 % specificity on the test split.",
    "specificity_at_90_sensitivity": "Share of rows without a finding that are left alone at the threshold that keeps 90 % sensitivity.",
    "worst_slice_auc": "Upper end of the 95 % interval of the AUC, of the worst of the `slices` with rows enough: fails what is worse for sure.",
    "worst_slice_sensitivity": "The same of the sensitivity at the model's threshold.",
    "worst_slice_specificity": "The same of the specificity at the model's threshold.",
    "auc_within_views": "Least AUC within a view position with rows enough, where the view is no help.",
    "auc_above_metadata": "AUC of the model, minus that of what is known of the images without looking (`metadata`).",
}
"""What each gate of any task is about."""


def schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema by name of the kind of manifest."""
    return {
        **{name: _training_spec(name) for name in _own_tasks()},
        "contract": editor_schema(_ContractManifest, "Contract"),
        "feature-transformer": _transformer(),
    }


def _own_tasks() -> list[str]:
    """Tasks of this repository, not those that somebody has added to the path."""
    return sorted(file.parent.name.replace("_", "-") for file in TASKS.glob("*/task.py"))


def _training_spec(task: str) -> dict[str, Any]:
    schema = editor_schema(find_task(task).spec, f"Training spec, task {task}")
    schema["properties"]["task"] = {
        "const": task,
        "description": "What kind of model the line trains.",
        **({"default": task} if task == DEFAULT_TASK else {}),
    }
    schema["$defs"]["Gates"] = {
        "description": "Conditions that deploying may demand; which there are is the task's.",
        "type": "object",
        "additionalProperties": False,
        "minProperties": 1,
        "properties": {
            name: {"description": _GATES[name], **_condition(rule)}
            for name, rule in find_task(task).rules.items()
        },
    }
    schema["properties"]["gates"] = {"$ref": "#/$defs/Gates"}
    if task != DEFAULT_TASK:
        schema["required"] = [*schema["required"], "task"]
    return schema


def _condition(rule: Rule) -> dict[str, Any]:
    if rule.operators == (DEMANDED,):
        return {"const": True}
    operators = sorted(rule.operators, key=len, reverse=True)
    bound = "0.8" if ">" in operators else "0.1"
    return {
        "type": "string",
        "pattern": rf"^\s*({'|'.join(operators)})\s*[-+.0-9eE]+\s*$",
        "examples": [f"{each} {bound}" for each in rule.operators],
    }


def _transformer() -> dict[str, Any]:
    schema = editor_schema(FeatureTransformer, "FeatureTransformer")
    metadata = schema["$defs"]["Metadata"]
    metadata["properties"]["name"]["pattern"] = f"^{NAME_FORM}$"
    # What a cluster adds to an object is no mistake in a file.
    del metadata["additionalProperties"], schema["additionalProperties"]
    return schema


def written() -> Iterator[tuple[str, str]]:
    """Each file, by its path under docs/, as the models have it now."""
    for name, schema in schemas().items():
        file = f"{name}.json"
        yield f"schemas/{file}", json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        yield f"reference/{name}.md", reference_page(schema, _MADE.format(schema=file))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the files; the exit status."""
    parser = argparse.ArgumentParser(prog="schemas", description="What may stand in manifests.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing, and fail where something would change"
    )
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of schemas/ and reference/")
    asked = parser.parse_args(arguments)
    stale = []
    for name, text in written():
        file: Path = asked.docs / name
        if file.is_file() and file.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not asked.check:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    if stale and asked.check:
        print(f"error: {', '.join(stale)}: not what the models say; run make schemas", file=sys.stderr)
        return 1
    print(f"written: {', '.join(stale)}" if stale else "schemas/ and reference/ are what the models say")
    return 0


if __name__ == "__main__":
    sys.exit(main())
