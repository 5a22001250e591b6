"""Builders for tests of judging: dataset rows with blobs as findings, their features, and a scorer that sees blobs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from platform_assets.tasks.image_classification.image_form import brightness_and_contrast, formed_rows
from platform_assets.tasks.image_classification.judging_spec import JudgedSpec

SIDE = 64
SCHEMA = pa.schema(
    {
        **dict.fromkeys(("patient", "image_id"), pa.string()),
        "label": pa.int32(),
        **dict.fromkeys(("source", "split", "site", "finding"), pa.string()),
        **dict.fromkeys(("grade", "box_top", "box_left", "box_bottom", "box_right"), pa.int32()),
        **dict.fromkeys(("modality", "view_position", "sex", "age_band", "detector"), pa.string()),
        **dict.fromkeys(("image_rows", "image_columns", "bits"), pa.int32()),
        "pixel_spacing": pa.float64(),
        **dict.fromkeys(("was_inverted", "released"), pa.bool_()),
        **dict.fromkeys(("stored_rows", "stored_columns"), pa.int32()),
        "image": pa.binary(),
    }
)


def make_spec(**changes: Any) -> JudgedSpec:
    """A spec of small images that are not windowed, so that pixels stay what they are."""
    return JudgedSpec.model_validate(
        {
            "image_size": SIDE,
            "window_low_percentile": 0.0,
            "window_high_percentile": 100.0,
            "shown_errors": 2,
            "pointed_rows": 12,
        }
        | changes
    )


def make_rows(
    patients: int = 60,
    each: int = 2,
    *,
    seed: int = 0,
    view_tells: float = 0.5,
    height: int = SIDE,
    width: int = SIDE,
    **columns: Any,
) -> pa.Table:
    """Dataset rows: noise with a bright blob in every other image; 60 % train, 10 % validation, 30 % test, by patient.

    Args:
        patients: How many.
        each: Images of a patient.
        seed: Of everything.
        view_tells: P(AP | label 1); P(AP | label 0) is what is left to 1.
        height: Pixels.
        width: Pixels.
        **columns: Values of columns in place of those that are made.
    """
    rng, rows = np.random.default_rng(seed), []
    for at in range(patients * each):
        patient, label = at // each, at % 2
        image = rng.normal(2000, 150, (height, width))
        top, left = (int(rng.integers(4, size - 20)) for size in (height, width))
        if label:
            image[top : top + 14, left : left + 14] += 1500
        share = patient / patients
        rows.append(
            {
                "patient": f"{patient:064x}",
                "image_id": f"{at:064x}",
                "label": label,
                "source": "phantom",
                "split": "train" if share < 0.6 else "validation" if share < 0.7 else "test",
                "site": None,
                "finding": "nodule" if label else None,
                "grade": 1 + at % 3 if label else None,
                **dict(
                    zip(
                        ("box_top", "box_left", "box_bottom", "box_right"),
                        (top, left, top + 14, left + 14) if label else (None,) * 4,
                        strict=True,
                    )
                ),
                "modality": "DX",
                "view_position": "AP" if rng.random() < (view_tells if label else 1 - view_tells) else "PA",
                "sex": "FM"[patient % 2],
                "age_band": ("40-49", "50-59", "60-69")[patient % 3],
                "detector": f"d{patient % 2}",
                "image_rows": height,
                "image_columns": width,
                "bits": 12,
                "pixel_spacing": 0.5,
                "was_inverted": False,
                "released": False,
                "stored_rows": height,
                "stored_columns": width,
                "image": np.clip(image, 0, 4095).astype("<u2").tobytes(),
            }
            | {name: value(at) if callable(value) else value for name, value in columns.items()}
        )
    return pa.Table.from_pylist(rows, SCHEMA)


def make_features(rows: pa.Table, spec: JudgedSpec) -> pa.Table:
    """What the featurizer makes of them."""
    pixels = formed_rows(rows, spec)
    brightness, contrast = brightness_and_contrast(pixels)
    return (
        rows.select(["patient", "image_id", "label", "source", "split"])
        .append_column("pixels", pa.array([each.tobytes() for each in pixels], pa.binary()))
        .append_column("brightness", pa.array(brightness))
        .append_column("contrast", pa.array(contrast))
    )


@dataclass(frozen=True)
class BlobScorer:
    """The brightest 8 × 8 square decides: it has seen a blob, wherever that is."""

    threshold: float = 0.5
    middle: float = 190.0

    def score_features(self, features: pa.Table) -> np.ndarray:
        """The more, the brighter."""
        images = np.array([np.frombuffer(each, np.uint8) for each in features["pixels"].to_pylist()])
        means = images.reshape(len(images), SIDE // 8, 8, SIDE // 8, 8).mean(axis=(2, 4))
        return 1 / (1 + np.exp(-(means.reshape(len(images), -1).max(axis=1) - self.middle) / 8))


@dataclass(frozen=True)
class CornerScorer:
    """Looks into one corner only, as what has learnt a marker does."""

    threshold: float = 0.5

    def score_features(self, features: pa.Table) -> np.ndarray:
        """The brighter that corner is."""
        images = np.array([np.frombuffer(each, np.uint8) for each in features["pixels"].to_pylist()])
        corner = images.reshape(len(images), SIDE, SIDE)[:, :8, :8].mean(axis=(1, 2))
        return 1 / (1 + np.exp(-(corner - 60) / 8))
