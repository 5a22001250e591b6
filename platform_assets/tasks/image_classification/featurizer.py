"""Images in one form: the same function serves training and prediction."""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Final

import rfc8785

from platform_assets.features.featurizer import NONE_FITTED, USED_SPLITS, Features, Refusal, TransformerUse
from platform_assets.features.transformer import FittedTransformer
from platform_assets.features.transformer_spec import TransformerSpec
from platform_assets.fingerprint import code_version
from platform_assets.tasks.image_classification.dataset_spec import StoredImageSpec
from platform_assets.tasks.image_classification.image_form import brightness_and_contrast, formed_rows
from platform_assets.tasks.image_classification.model_spec import ImageFormSpec

if TYPE_CHECKING:
    import pyarrow as pa

_FOLDER: Final = "platform_assets.tasks.image_classification"


class ImageFeaturizer:
    """Pixels in the form that the spec names: nothing is fitted."""

    description: Final = "Images in one form, 8 bits and square, of every row that is trained or measured on."
    kinds: Final = ("numpy",)
    fields: Final = tuple(ImageFormSpec.model_fields)
    overridable: Final = tuple(name for name in fields if name not in StoredImageSpec.model_fields)

    @cached_property
    def code(self) -> str:
        """See `Featurizer.code`."""
        return code_version("image features", f"{_FOLDER}.featurizer", f"{_FOLDER}.image_form")

    def upstream(self, spec: ImageFormSpec) -> Mapping[str, str]:  # noqa: ARG002 - there is nothing
        """See `Featurizer.upstream`."""
        return {}

    def uses(self, spec: ImageFormSpec) -> TransformerUse:  # noqa: ARG002 - it uses none
        """See `Featurizer.uses`."""
        return TransformerUse()

    def refusal(
        self,
        spec: ImageFormSpec,  # noqa: ARG002
        name: str,  # noqa: ARG002
        transformers: Mapping[str, TransformerSpec],  # noqa: ARG002
    ) -> Refusal:
        """See `Featurizer.refusal`."""
        return Refusal("a line of images uses no transformers")

    def apply(
        self,
        rows: "pa.Table",
        spec: ImageFormSpec,
        *,
        subject_column: str,
        transformers: Mapping[str, FittedTransformer] = NONE_FITTED,  # noqa: ARG002
    ) -> Features:
        """See `Featurizer.apply`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        used = pc.is_in(rows["split"], pa.array(USED_SPLITS)).to_numpy()
        pixels = formed_rows(rows, spec, used)
        brightness, contrast = brightness_and_contrast(pixels)
        recipe = {name: getattr(spec, name) for name in self.fields}
        kept = rows.select([subject_column, "image_id", "label", "source", "split"]).filter(used)
        return Features(
            table=kept.append_column("pixels", pa.array([each.tobytes() for each in pixels], pa.binary()))
            .append_column("brightness", pa.array(brightness))
            .append_column("contrast", pa.array(contrast)),
            sha256=hashlib.sha256(rfc8785.dumps(recipe)).hexdigest(),
            recipe=recipe,
            metadata={
                "image_size": spec.image_size,
                "brightness_mean": float(brightness.mean()) if len(pixels) else 0.0,
                "contrast_mean": float(contrast.mean()) if len(pixels) else 0.0,
            },
            made_from=dict.fromkeys(("pixels", "brightness", "contrast"), ("image",)),
        )
