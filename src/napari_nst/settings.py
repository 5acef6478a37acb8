"""All settings of a run: validated, immutable, saved as JSON."""

from __future__ import annotations

import difflib
import math
import os
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from napari_nst.errors import InputError, abridged
from napari_nst.mappings import LayerWeights, RegionStyles
from napari_nst.networks import NETWORKS

__all__ = ["LayerWeights", "StyleTransferSettings"]


def _path_as_text(value: object) -> object:
    """Convert a path to text, which JSON can hold."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _one_or_several(value: object) -> object:
    """Accept one positive number or several, with one message for everything else."""
    numbers: Any = value if isinstance(value, (list, tuple)) else [value]
    try:
        found = tuple(float(number) for number in numbers)
    except (TypeError, ValueError):
        found = ()
    if not found or not all(0 < number < math.inf for number in found):
        raise ValueError("it must be a number above 0, or a list with one for each style")
    return found if numbers is value else found[0]


def _number_or_word(*words: str) -> BeforeValidator:
    """Accept a number or one of some words, also as text from the command line."""

    def convert(value: object) -> object:
        if not isinstance(value, str):
            return value
        if value == "none" and "none" in words:
            return None
        if value not in words:
            try:
                return int(value)
            except ValueError:
                listed = ", ".join(repr(word) for word in words)
                raise ValueError(f"it must be {listed} or a whole number") from None
        return value

    return BeforeValidator(convert)


_Layers = Annotated[
    LayerWeights,
    PlainValidator(LayerWeights),
    PlainSerializer(dict),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "number"}}),
]
_Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=1)]
_Tile = Annotated[int, Field(ge=64)]  # smaller tiles would be mostly halo
_RegionStyles = Annotated[
    RegionStyles,
    PlainValidator(RegionStyles),
    PlainSerializer(dict),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": ["integer", "null"]}}),
]


class StyleTransferSettings(BaseModel):
    """All settings of a run.

    Unknown names and invalid values raise an `InputError` of one sentence.  Settings are
    immutable: ``settings.replace(size=512)`` returns a changed copy.

    Attributes
    ----------
    network : {"vgg16", "vgg19"}
        The network whose features are compared.  VGG-16 is part of the package.  VGG-19, which
        the paper uses, is downloaded once by ``napari-nst weights fetch vgg19``, or read from
        torch hub's cache or from the file in `weights`.
    weights : str or None
        A file with the network's weights; None: the built-in or downloaded ones.
    weights_format : {"auto", "torchvision", "caffe"}
        Input of the network in that file: normalized RGB as in torchvision, or BGR in 0-255 minus
        the mean, as the VGG team trained it in Caffe and Gatys et al. used it.  "auto": "caffe"
        if the hash is that of a published conversion, else "torchvision".
    content_layers, style_layers : mapping of str to float, or names
        Layers and their weights w_l.  Names without weights get equal weights that sum to one.
    style_loss : {"gram", "gram+moments", "wasserstein"}
        How style statistics are compared: by Gram matrices (the paper), also by means and
        standard deviations (arXiv 2212.13459), or by the Wasserstein distance of two Gaussians,
        which gives the best results and takes longest.
    normalize_gradients : bool
        True (default): the loss of each layer is relative to its target and normalized by its
        gradient, so that a `style_weight` has the same effect at every size and for every pair
        (`losses.relative_gram_term`, `losses.relative_content_term`).  False: the losses
        exactly as in the paper (`losses.gram_term`, `losses.content_term`).
    content_weight, style_weight : float
        alpha and beta of arXiv 1508.06576, equation 7.  While a run finds the composition, at its
        smallest scales, the content weight is at least three times as large
        (`schedule.COARSE_CONTENT_WEIGHT`).
    kept_structure : float
        From 0 to 1: how far the result's self-similarity must agree with the content's
        (`losses.structure`) at the default weights; less at a larger `style_weight`.  The content
        weight is raised, up to ten times, while less is kept (`optim.content_factor`).  So a
        strength keeps as much of a photograph with every style.  0: the content weight as given.
        L-BFGS needs a constant loss, so it ignores this.
    tv_weight : float
        Weight of the total variation loss, which suppresses noise (`losses.variation_term`).  2
        is also the default of crowsonkb's style-transfer-pytorch; benchmarks/quality.py agrees.
    temporal_weight : float
        Weight of the temporal loss, which holds a plane of a stack to the plane before
        (`losses.temporal_term`; arXiv 1604.08610, section 4.2).  Without `init_reliability` there
        is no such loss.
    style_weights : tuple of float or None
        Relative weights of several styles; None: equal.
    style_scale : float or tuple of float
        The style image's longest side relative to the content's, at every scale; one for all
        styles or one for each.  Larger values make larger strokes.  Beside a narrow content the
        style is smaller (`sizes.style_size`).
    strokes_relative_to : {"picture", "pixels"}
        What the size of strokes is relative to.  "picture": at every working size strokes are the
        same part of the picture.  From 725 pixels up they are drawn at half the size or less, and
        larger scales only add detail (`schedule.make_scales`); L-BFGS also moves strokes there.
        "pixels": they have the size in pixels that they have at a working size of 512, so a picture
        of 2048 pixels has strokes a quarter as large, and one of 256 twice as large.  Then
        `style_scale` is relative to 512 pixels, and scales begin where the style has about 256.
    region_styles : mapping of int to int or None, or None
        With labels on the content: the index of each label's style, from 0, or None to keep the
        content's pixels.  See `assignment.assign_styles` for labels that are not named.
    region_guidance : {"all", "inside"}
        Positions of a layer that belong to a region: all that overlap it, weighted by the share
        of their pixels, or only those whose receptive field lies inside it, so that no style
        leaks over a border (Gatys et al., arXiv 1611.07865, section 4.1).
    region_softness : float
        Width of the transition between two regions, as a share of the longest side.
    pooling : {"max", "average"}
        Pooling between the network's blocks.  The paper prefers the results of average pooling.
    rescale_pooling : bool
        Rescale the activations of average pooling to the level of max pooling, which the network
        was trained with.  The paper does not.
    padding : {"replicate", "zero"}
        Padding of the image for the network's first convolution.
    init : {"content", "noise", "style", "image"}
        The initial image; "image" is the one given as ``init_image``.
    size : int, "auto" or None
        Longest side of the working size, in pixels.  None: that of the content.  "auto": that of
        the content, but at most 512 on a CPU and 1024 on a GPU.
    output_size : {"content", "working"}
        Size of the result: that of the content, or the working size.
    scales : int or "auto"
        Number of scales, coarse to fine.  "auto": from about 256 pixels, each twice as large as
        the one before; at least two if the first has about 128.
    iterations : int
        Evaluations of loss and gradient, summed over all scales.
    optimizer : {"adam", "lbfgs"}
        The optimizer.  The paper uses L-BFGS.
    learning_rate : float or None
        Initial learning rate; Adam's decays once the composition is found.  None: 0.038 for Adam,
        for image values in [0, 1], and 1 for L-BFGS.  A step also moves patches of up to 16 pixels
        a side (`multilevel.precondition_`).
    color : {"style", "palette", "luminance", "match"}
        "style": the colours of the style.  "palette": the same run, whose picture is recoloured:
        coarsely the colours of the content, mapped to the mean and covariance of the style's;
        finer variations stay (arXiv 2203.13215).  "luminance": only the luminance is optimised,
        and the content keeps its colours.  "match": the style is first recoloured to the
        content's palette (Gatys et al., arXiv 1606.05897).
    seed : int
        Seed of the initial noise.
    nan : {"error", "keep"}
        Pixels of the content that are not finite raise an error, or are filled for the run, have
        no weight in it, and are restored in the result.
    device : str
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    precision : {"auto", "float32", "bfloat16"}
        Precision of the convolutions.  Losses, statistics and the image are at least float32.
    tile : int, "auto" or "off"
        Side of the tiles in which the image is evaluated, in pixels.  Loss and gradient are those
        of the whole image; tiles need less memory and about twice the time.  "auto": the whole
        image, or the largest tiles that fit into memory.
    memory_limit : float or None
        GiB that a run may use; None: what is free when it starts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    network: Literal["vgg16", "vgg19"] = "vgg16"
    weights: Annotated[str | None, BeforeValidator(_path_as_text)] = None
    weights_format: Literal["auto", "torchvision", "caffe"] = "auto"
    content_layers: _Layers = LayerWeights(("relu4_2",))
    style_layers: _Layers = LayerWeights(
        {"relu1_1": 0.3, "relu2_1": 0.25, "relu3_1": 0.2, "relu4_1": 0.15, "relu5_1": 0.1}
    )
    style_loss: Literal["gram", "gram+moments", "wasserstein"] = "gram"
    normalize_gradients: bool = True
    content_weight: _Weight = 0.1
    kept_structure: Annotated[float, Field(ge=0, lt=1)] = 0.6
    style_weight: _Weight = 1.0
    tv_weight: _Weight = 2.0
    temporal_weight: _Weight = 5.0
    style_weights: tuple[_Weight, ...] | None = None
    style_scale: Annotated[float | tuple[float, ...], BeforeValidator(_one_or_several)] = 1.0
    strokes_relative_to: Literal["picture", "pixels"] = "picture"
    region_styles: _RegionStyles | None = None
    region_guidance: Literal["all", "inside"] = "all"
    region_softness: Annotated[float, Field(ge=0, le=1)] = 0.02
    pooling: Literal["max", "average"] = "max"
    rescale_pooling: bool = True
    padding: Literal["replicate", "zero"] = "replicate"
    init: Literal["content", "noise", "style", "image"] = "content"
    size: Annotated[_Count | Literal["auto"] | None, _number_or_word("auto", "none")] = "auto"
    output_size: Literal["content", "working"] = "content"
    scales: Annotated[_Count | Literal["auto"], _number_or_word("auto")] = "auto"
    iterations: _Count = 100
    optimizer: Literal["adam", "lbfgs"] = "adam"
    learning_rate: _Positive | None = None
    color: Literal["style", "palette", "luminance", "match"] = "style"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    nan: Literal["error", "keep"] = "error"
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$")] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    tile: Annotated[_Tile | Literal["auto", "off"], _number_or_word("auto", "off")] = "auto"
    memory_limit: _Positive | None = None

    def __init__(self, **choices: Any) -> None:
        try:
            super().__init__(**choices)
        except ValidationError as error:
            raise InputError(_sentence(error)) from None

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        network = NETWORKS[self.network]
        for name in (*self.content_layers, *self.style_layers):
            network.layer(name)
        if not self.layers_in_use:
            raise InputError("content_layers and style_layers are both empty; name one layer.")
        if self.style_weights is not None and not sum(self.style_weights) > 0:
            raise InputError("style_weights are all zero; give at least one style a share.")
        return self

    @property
    def layers_in_use(self) -> tuple[str, ...]:
        """The content and style layers whose weight is not zero."""
        return (*self.content_layers.active, *self.style_layers.active)

    @property
    def keeps_structure(self) -> bool:
        """Whether the content weight is raised where `kept_structure` needs it."""
        weighted = self.content_weight > 0 and bool(self.content_layers.active)
        return self.kept_structure > 0 and weighted and self.optimizer == "adam"

    @property
    def allowed_precision(self) -> Literal["auto", "float32", "bfloat16"]:
        """The precision, but float32 instead of "auto" where bfloat16 rounds too coarsely.

        Losses of Gram matrices tolerate it; the Wasserstein distance is sensitive to small
        eigenvalues, which rounding hides, and L-BFGS to noise in the differences of gradients.
        """
        sensitive = self.style_loss == "wasserstein" or self.optimizer == "lbfgs"
        return "float32" if self.precision == "auto" and sensitive else self.precision

    def scales_of_styles(self, count: int) -> tuple[float, ...]:
        """Return the style scale of each style.

        Raises
        ------
        InputError
            If `style_scale` has values for another number of styles.
        """
        scales = self.style_scale
        if not isinstance(scales, tuple):
            return (scales,) * count
        if len(scales) != count:
            raise InputError(
                f"style_scale has {len(scales)} values, and the number of styles is {count}; give "
                "one for each, or one for all."
            )
        return scales

    def replace(self, **choices: Any) -> StyleTransferSettings:
        """Return a copy with some settings changed."""
        return StyleTransferSettings(**{**self.model_dump(), **choices})

    def to_json(self) -> str:
        """Return all settings as JSON, including defaults."""
        return self.model_dump_json(indent=2)

    @classmethod
    def from_json(cls, text: str) -> StyleTransferSettings:
        """Return settings from JSON; missing ones have their defaults.

        Raises
        ------
        InputError
            If the text is not JSON or not valid settings.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise InputError(_sentence(error)) from None


def _sentence(error: ValidationError) -> str:
    """Return the first error of pydantic as one sentence."""
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, InputError):
        return str(cause)
    name = str(first["loc"][0]) if first["loc"] else "settings"
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, StyleTransferSettings.model_fields, 1)
        hint = f"did you mean {near[0]!r}?" if near else "they are listed in StyleTransferSettings."
        return f"There is no setting {abridged(name)}; {hint}"
    if first["type"] == "json_invalid":
        return f"The settings are not valid JSON: {cause}."
    if first["type"] == "string_pattern_mismatch":
        expected = "it must be 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'"
    elif first["type"] == "value_error":
        expected = str(cause)
    elif first["type"] == "literal_error":
        expected = f"it must be {first['ctx']['expected']}"
    else:
        expected = first["msg"].replace("Input should be", "it must be")
    return f"{name} is {abridged(first['input'])}; {expected}."
