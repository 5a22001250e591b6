"""The smallest task: is a number odd? Learnt by counting how often each remainder was; no library scores."""

# What each method does, the Protocol that it is of says.
# ruff: noqa: D102

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from platform_assets.datasets.ingestion import PreparedRows, SubjectColumn, first_sources_of
from platform_assets.datasets.sources import sources_hash
from platform_assets.features.featurizer import NONE_FITTED, Features, Refusal, TransformerUse, used_rows
from platform_assets.fingerprint import code_version
from platform_assets.models.errors import InstanceError, TrainingError
from platform_assets.models.hardware import Hardware
from platform_assets.models.scorer import chosen_rows
from platform_assets.models.trainer import TrainingConfig, TrainingResult
from platform_assets.sheets import Sheet
from platform_assets.tasks.task import Task
from platform_assets.tasks.training_spec import TrainingSpec
from platform_assets.validation.gate import Decision, Rule
from resources.row_batches import RowBatches

CODE = code_version("toy parity", __name__)
RULES = {
    "odd_share": Rule(
        lambda inputs, condition: Decision(
            condition.holds(inputs.measures["odd_share"]), inputs.measures["odd_share"], "as measured"
        ),
        operators=("<", "<="),
        version=1,
    )
}
PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


class ToySpec(TrainingSpec):
    """A line of numbers."""

    modulus: Annotated[int, Field(ge=1)] = 2
    smoothing: Annotated[float, Field(gt=0)] = 1.0


class ToyConfig(TrainingConfig):
    """How it counts."""

    smoothing: float


class ToyIngestion:
    """Rows `number,label`; a number is its own subject, and its hash puts it into a split."""

    code, description, fields = CODE, "Numbers.", ()

    def subject(self, spec):
        return SubjectColumn("number", "number_id")

    def prepare(self, spec, sources, *, is_erased):
        import pandas as pd
        import pyarrow as pa

        raw = pd.concat(
            [
                each.frame.assign(source=each.source.name, role=each.role, uri=at)
                for at, each in enumerate(sources)
            ],
            ignore_index=True,
        )
        raw["number_id"] = "number-" + raw["number"].astype(str).str.zfill(12)
        raw["split"] = [
            _split(each) if role == "train" else role
            for each, role in zip(raw["number_id"], raw["role"], strict=True)
        ]
        gone = np.array(is_erased(raw["number_id"].tolist()), dtype=bool)
        again = raw.duplicated("number_id").to_numpy() & ~gone
        left = raw[~gone & ~again]
        return PreparedRows(
            rows=RowBatches.of(
                pa.table(
                    {
                        "number_id": left["number_id"].tolist(),
                        "number": left["number"].astype("int64").to_numpy(),
                        "label": pa.array(left["label"].astype("int64"), pa.int32()),
                        "source": left["source"].tolist(),
                        "split": left["split"].tolist(),
                    }
                )
            ),
            first_sources=first_sources_of(raw["role"], raw["source"], raw["uri"]),
            source_hash=sources_hash(each.source for each in sources),
            raw_rows=len(raw),
            erased=int(gone.sum()),
            left_out={"duplicates_removed": int(again.sum())},
        )


class ToyFeaturizer:
    """The remainder, and the distance from the mean of the numbers that are trained on."""

    code, description, kinds, fields, overridable = CODE, "Remainders.", (), ("modulus",), ("modulus",)

    def upstream(self, spec):
        return {}

    def uses(self, spec):
        return TransformerUse()

    def refusal(self, spec, name, transformers):
        return Refusal("numbers use no transformers")

    def apply(self, rows, spec, *, subject_column, transformers=NONE_FITTED):
        import pyarrow as pa
        import pyarrow.compute as pc

        used = used_rows(rows)
        mean = pc.mean(used.filter(pc.equal(used["split"], "train"))["number"]).as_py()
        recipe, state = {"modulus": spec.modulus}, {"mean.json": json.dumps(mean).encode()}
        table = used.select([subject_column, "label", "source", "split"])
        for name, values in _features(used["number"].to_numpy(), spec.modulus, mean).items():
            table = table.append_column(name, pa.array(values))
        sha256 = hashlib.sha256(json.dumps([recipe, mean]).encode()).hexdigest()
        return Features(table, sha256, recipe, state, metadata={"mean": mean})


@dataclass(frozen=True)
class ToyScorer:
    """Shares that were counted."""

    shares: dict[int, float]
    modulus: int
    mean: float
    threshold: float = 0.5

    def score_features(self, features):
        return np.array([self.shares.get(each, 0.5) for each in features["remainder"].to_pylist()])

    def score_rows(self, rows, chosen=None):
        return self._score(chosen_rows(rows, chosen)["number"].to_numpy())

    def score_instances(self, instances):
        return self._score(_numbers(instances))

    def watched(self, instances):
        features = _features(_numbers(instances), self.modulus, self.mean)
        return [{"distance": float(each)} for each in features["distance"]]

    def _score(self, numbers):
        import pyarrow as pa

        return self.score_features(pa.table(_features(numbers, self.modulus, self.mean)))


class ToyTrainer:
    """Counts."""

    code, description, kinds, fields, config_type = CODE, "Shares.", (), ("smoothing",), ToyConfig

    def upstream(self, spec, recipe):
        return {}

    def config(self, spec, recipe):
        return ToyConfig(smoothing=spec.smoothing)

    def fit(self, rows, config, *, output, checkpoints, checkpoint_interval_seconds=20.0, on_progress=None):
        import pyarrow.compute as pc

        train = rows.filter(pc.equal(rows["split"], "train"))
        if not train.num_rows:
            raise TrainingError("split 'train' has 0 rows")
        labels, remainders = train["label"].to_numpy(), train["remainder"].to_numpy()
        shares = {
            str(each): (labels[remainders == each].sum() + config.smoothing)
            / ((remainders == each).sum() + 2 * config.smoothing)
            for each in np.unique(remainders).tolist()
        }
        weights = json.dumps(shares).encode()
        output.mkdir(parents=True)
        (output / "shares.json").write_bytes(weights)
        sha256, hardware = hashlib.sha256(weights).hexdigest(), Hardware("cpu", "float32", 1, "CPU")
        return TrainingResult(output, sha256, 1, 0, 0.0, 0.0, train.num_rows, hardware)

    def complete(self, output, recipe, state):
        (output / "recipe.json").write_text(json.dumps(dict(recipe)))
        for name, content in state.items():
            (output / name).write_bytes(content)

    def load(self, folder: Path, *, gpu=0, mixed_precision=False):
        shares, recipe, mean = (
            json.loads((folder / f"{name}.json").read_bytes()) for name in ("shares", "recipe", "mean")
        )
        return ToyScorer({int(each): share for each, share in shares.items()}, recipe["modulus"], mean)


class ToyEvaluator:
    """Judges, with a measure and a rule of its own; shows its first mistakes, and what it says of the remainder beside."""

    code, scoring_code, examining_code, fields, headline = CODE, CODE, CODE, (), "auc"
    rules = RULES

    def baseline_name(self, spec):
        return "coin"

    def threshold(self, spec):
        return 0.5

    def profiled(self, spec):
        return ("distance",)

    def columns(self, features, rows, spec):
        return features.select(["distance"])

    def cluster_unit(self, spec):
        return None

    def clusters(self, rows, spec):
        raise AssertionError("nobody asks for clusters where there is no unit")

    def baseline(self, train, measured, spec):
        return np.full(measured.num_rows, train["label"].to_numpy().mean())

    def measures(self, scored, spec, *, reference, threshold):
        return {"odd_share": float(scored["label"].to_numpy().mean())}

    def of_model(self, read, spec):
        return {}

    def pictures(self, scored, measures, spec):
        return {"pixel": PICTURE}

    def examined(self, scorer, features, scored, spec, *, threshold):
        import pyarrow as pa

        at = features.column_names.index("remainder")
        turned = features.set_column(at, "remainder", pa.array(1 - features["remainder"].to_numpy()))
        wrong = (scored["score"].to_numpy() >= threshold) != (scored["label"].to_numpy() == 1)
        ids = scored["number_id"].filter(pa.array(wrong)).to_pylist()
        images = {"number_id": ids, "group": ["mistakes"] * len(ids), "caption": ["<one>"] * len(ids)}
        return Sheet(
            title="Mistakes",
            notes=("All of them.",),
            images=pa.table(images | {"png": pa.array([PICTURE] * len(ids), pa.binary())}),
            measures={"turned_share": float((scorer.score_features(turned) >= threshold).mean())},
        )


def _features(numbers, modulus, mean):
    return {"remainder": numbers % modulus, "distance": numbers - mean}


def _numbers(instances):
    for at, each in enumerate(instances, start=1):
        if not isinstance(each, int) or isinstance(each, bool):
            raise InstanceError(f"instance {at}: is no whole number")
    return np.array(instances, dtype=np.int64)


def _split(number_id):
    drawn = hashlib.sha256(number_id.encode()).digest()[0] % 10
    return "test" if drawn < 3 else "validation" if drawn == 3 else "train"


TASK = Task(
    name="toy-parity",
    spec=ToySpec,
    ingestion=ToyIngestion(),
    featurizer=ToyFeaturizer(),
    trainer=ToyTrainer(),
    evaluator=ToyEvaluator(),
    model_format="toy",
    read_instance=int,
    example_instance=lambda *_: "7",
)
