"""What a training spec says about how images are brought into one form, and about the network that reads them."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from platform_assets.manifest import Many
from platform_assets.models.hyper_parameters import HyperParameters
from platform_assets.models.spec import ModelSpec
from platform_assets.tasks.image_classification.dataset_spec import StoredImageSpec

_Width = Annotated[int, Field(ge=4, le=4096)]
_Depth = Annotated[int, Field(ge=1, le=100)]


class ImageFormSpec(StoredImageSpec):
    """The one form in which images are stored, trained on and answered: square, 8 bits."""

    image_size: Annotated[int, Field(ge=64, le=1024)] = 128
    """Pixels of a side. Larger images are reduced by the means of areas, smaller ones enlarged between neighbours."""
    fit: Literal["pad", "crop", "stretch"] = "pad"
    """What is done with images that are not square: dark edges are added, the middle is cut out, or they are distorted."""
    window_low_percentile: Annotated[float, Field(ge=0, lt=100)] = 0.5
    """Share of an image's pixels in percent that become 0, the darkest ones."""
    window_high_percentile: Annotated[float, Field(gt=0, le=100)] = 99.5
    """Those above this share become 255; between both, brightness is kept in proportion."""

    @model_validator(mode="after")
    def _has_a_window(self) -> Self:
        if self.window_low_percentile >= self.window_high_percentile:
            raise ValueError("window_low_percentile must be below window_high_percentile")
        return self


class ResNetParameters(HyperParameters):
    """Which ResNet is trained, and how. The defaults are a small one for about a thousand images, on CPUs."""

    epochs: Annotated[int, Field(ge=1, le=1000)] = 30
    """How often each training image is seen, each time a little different."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 3e-3
    """The highest rate, reached after the warm-up; a pretrained network wants about a tenth of it."""
    schedule: Literal["linear", "cosine"] = "cosine"
    """How the rate falls from there to 0 at the end: along a straight line, or along half a wave of the cosine."""
    average_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """What is kept is an average of the weights over the steps, of which each step leaves so much, or less where steps are
    few; 0: those of the last step."""
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """How much weights of more than one dimension are pulled towards 0."""

    model_name: Annotated[str, Field(min_length=1)] | None = None
    """A pretrained ResNet to start from: a Hugging Face id such as `microsoft/resnet-50`, with `@<revision>` where it is not
    to be `main`; a folder; or `package://<package>/<folder>`. Without one, a network of the following four begins anew."""
    widths: Annotated[Many[_Width], Field(min_length=1, max_length=4)] = (16, 32, 64, 128)
    """Channels of each stage; each stage after the first halves the side of its maps."""
    depths: Annotated[Many[_Depth], Field(min_length=1, max_length=4)] = (1, 1, 1, 1)
    """Layers of each stage."""
    layer_type: Literal["basic", "bottleneck"] = "basic"
    """Of two convolutions, as in ResNet-18 and -34, or of three, as in ResNet-50 and larger ones."""
    embedding_size: Annotated[int, Field(ge=4, le=4096)] = 16
    """Channels before the first stage."""

    local_contrast_px: Annotated[int, Field(ge=3, le=255)] | None = 17
    """Side of the neighbourhood by whose mean and spread a second channel measures each pixel; null for no such channel."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the values before the last layer that are left out at random in training."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """How much of each label is spread over both: a guard against labels that are wrong."""
    class_balance: Annotated[float, Field(ge=0, le=1)] = 0.0
    """How much the rarer label counts for more: 1 makes both labels equal in sum, 0 counts every image alike. Scores stay
    probabilities as the training split has them."""

    augment_rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 7.0
    """Training images are turned by up to so much either way."""
    augment_scale: Annotated[float, Field(ge=0, lt=1)] = 0.08
    """They are made larger or smaller by up to this share."""
    augment_shift: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """They are moved by up to this share of a side, in both directions."""
    augment_flip: bool = True
    """Whether every other one is its mirror image; then answers are means over an image and its mirror image."""
    augment_contrast: Annotated[float, Field(ge=0, lt=1)] = 0.15
    """Their contrast is changed by up to this share."""
    augment_brightness: Annotated[float, Field(ge=0, lt=1)] = 0.15
    """Their brightness is changed by up to this share of the whole range."""

    @model_validator(mode="after")
    def _has_as_many_depths_as_widths(self) -> Self:
        if len(self.widths) != len(self.depths):
            raise ValueError("widths and depths must be as many: one of each for each stage")
        if self.layer_type == "bottleneck" and any(width % 4 for width in self.widths):
            raise ValueError("widths of bottleneck layers must be multiples of 4")
        if self.local_contrast_px is not None and self.local_contrast_px % 2 == 0:
            raise ValueError("local_contrast_px must be odd, so that the neighbourhood has a middle")
        return self


class ResNetModelSpec(ModelSpec, ResNetParameters):
    """A line whose model is a ResNet: what its trainer reads."""
