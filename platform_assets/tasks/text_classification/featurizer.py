"""Token ids of texts: the same tokenizer serves training and prediction."""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Final

from platform_assets.features.featurizer import NONE_FITTED, Features, Refusal, TransformerUse
from platform_assets.features.transformer import FittedTransformer
from platform_assets.features.transformer_spec import TransformerSpec
from platform_assets.fingerprint import code_version
from platform_assets.tasks.pretrained import model_identity, model_location
from platform_assets.tasks.text_classification.spec import TokensSpec
from platform_assets.tasks.text_classification.tokens import (
    load_tokenizer,
    token_features,
)

if TYPE_CHECKING:
    import pyarrow as pa


_FOLDER: Final = "platform_assets.tasks.text_classification"


class TextFeaturizer:
    """A tokenizer, which comes with its encoder: nothing is fitted."""

    description: Final = (
        "Token ids, head and tail of long texts kept, of every row that is trained or measured on."
    )
    kinds: Final = ("huggingface",)
    fields: Final = tuple(TokensSpec.model_fields)
    overridable: Final = fields

    @cached_property
    def code(self) -> str:
        """See `Featurizer.code`."""
        return code_version("text features", f"{_FOLDER}.featurizer", f"{_FOLDER}.tokens")

    def upstream(self, spec: TokensSpec) -> Mapping[str, str]:
        """See `Featurizer.upstream`."""
        return {"encoder": model_identity(model_location(spec.model_name))}

    def uses(self, spec: TokensSpec) -> TransformerUse:  # noqa: ARG002 - it uses none
        """See `Featurizer.uses`."""
        return TransformerUse()

    def refusal(self, spec: TokensSpec, name: str, transformers: Mapping[str, TransformerSpec]) -> Refusal:  # noqa: ARG002
        """See `Featurizer.refusal`."""
        return Refusal("a line of texts uses no transformers")

    def apply(
        self,
        rows: "pa.Table",
        spec: TokensSpec,
        *,
        subject_column: str,  # noqa: ARG002
        transformers: Mapping[str, FittedTransformer] = NONE_FITTED,  # noqa: ARG002
    ) -> Features:
        """See `Featurizer.apply`."""
        tokenizer = load_tokenizer(
            model_location(spec.model_name), max_length=spec.max_length, head_fraction=spec.head_fraction
        )
        table = token_features(rows, tokenizer)
        lengths = table["tokens"].to_numpy()
        return Features(
            table=table,
            sha256=tokenizer.sha256,
            recipe={name: getattr(spec, name) for name in self.fields},
            metadata={
                "tokenizer_sha256": tokenizer.sha256,
                "tokens_mean": float(lengths.mean()),
                "truncated_share": float((lengths > spec.max_length).mean()),
            },
            made_from=dict.fromkeys(("token_ids", "tokens", "words"), ("text",)),
        )
