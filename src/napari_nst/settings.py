"""Every choice of a run, validated, immutable, and saved as JSON."""

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
    """Let a path be given as such; settings hold text, which JSON can say."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _one_or_several(value: object) -> object:
    """Take a positive number or several, with one message for whatever else it may be."""
    numbers: Any = value if isinstance(value, (list, tuple)) else [value]
    try:
        found = tuple(float(number) for number in numbers)
    except (TypeError, ValueError):
        found = ()
    if not found or not all(0 < number < math.inf for number in found):
        raise ValueError("it must be a number above 0, or a list with one for each style")
    return found if numbers is value else found[0]


def _number_or_word(*words: str) -> BeforeValidator:
    """Let the command line's "auto" and "256" be told apart, with one clear message."""

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
_Tile = Annotated[int, Field(ge=64)]  # of smaller ones nearly all would be halo
_RegionStyles = Annotated[
    RegionStyles,
    PlainValidator(RegionStyles),
    PlainSerializer(dict),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": ["integer", "null"]}}),
]


class StyleTransferSettings(BaseModel):
    """Every choice of a run.

    Unknown names and impossible values raise an `InputError` of one sentence.  Settings are
    immutable: ``settings.replace(size=512)`` makes others.

    Attributes
    ----------
    network : {"vgg16", "vgg19"}
        Whose features are compared.  VGG-16 comes with the package; VGG-19, the paper's, is
        fetched once by ``napari-nst weights fetch vgg19``, read from torch hub's cache, or from
        the file named by `weights`.
    weights : str, path-like or None
        A file with the network's weights, instead of those that would be found.
    weights_format : {"auto", "torchvision", "caffe"}
        What the network in that file takes: torchvision's normalised RGB, or BGR in 0-255 less
        the mean, as the VGG team trained it in Caffe and Gatys et al. used it.  "auto": Caffe's
        if the file's hash is that of a published conversion, else torchvision's.
    content_layers, style_layers : mapping of str to float, or names
        Layers and their weights w_l.  Names alone share a weight of one.
    style_loss : {"gram", "gram+moments", "wasserstein"}
        How the style's statistics are compared: by their Gram matrices (the paper), also by
        means and standard deviations (arXiv 2212.13459), or by the Wasserstein distance of two
        Gaussians, which paints best and takes longest.
    normalize_gradients : bool
        True (default): every layer's loss is relative to its target and normalised by its
        gradient, so that one `style_weight` looks the same at every size and for every pair
        (`losses.relative_gram_term`, `losses.relative_content_term`).  False: the losses of
        Gatys et al. as the paper writes them (`losses.gram_term`, `losses.content_term`).
    content_weight, style_weight : float
        alpha and beta of arXiv 1508.06576, equation 7.  At the sizes before the last the content
        weighs three times as much (`schedule.CONTENT_AT_SMALLER`).
    tv_weight : float
        Weight of the total variation, which smooths noise away (`losses.total_variation`).  2 is
        also the default of crowsonkb's style-transfer-pytorch; benchmarks/quality.py agrees.
    style_weights : tuple of float or None
        The share of each of several styles; None: equal shares.
    style_scale : float or tuple of float
        The style image's longest side relative to the content's, at every scale; one for all
        styles or one for each.  Larger values make larger strokes.  Beside a narrow content it
        is less (`sizes.style_size`).
    region_styles : mapping of int to int or None, or None
        With labels painted on the content: which style a label takes, by its index from 0, or
        None where the content's own pixels are kept.  What holds for labels that are not named
        here says `assignment.assign`.
    region_guidance : {"all", "inside"}
        Which positions of a layer belong to a region: all that touch it, by the share of their
        pixels, or only those whose receptive field lies inside it, so that no style leaks over a
        border (Gatys et al., arXiv 1611.07865, section 4.1).
    region_softness : float
        The width of the transition between two regions, as a share of the longest side.
    pooling : {"max", "average"}
        Between the network's blocks.  The paper found average pooling more pleasing.
    rescale_pooling : bool
        With average pooling, keep the activations at the level the network was trained with.
        The paper does not.
    padding : {"replicate", "zero"}
        What surrounds the image for the network's first convolution.
    init : {"content", "noise", "style", "image"}
        What the optimisation starts from; "image" is the picture given as ``start``.
    size : int, "auto" or None
        The longest side worked at, in pixels.  None: the content's own.  "auto": the
        content's own, but at most 512 on a processor and 1024 on a GPU.
    output_size : {"content", "working"}
        The size of the result: the content's, or the size worked at.
    scales : int or "auto"
        How many sizes the picture grows through.  "auto": from about 256 pixels, each
        twice as large as the one before; two at least where the first has about 128.
    iterations : int
        Evaluations of loss and gradient, in total over all scales.
    optimizer : {"adam", "lbfgs"}
        How the picture moves.  The paper uses L-BFGS.
    learning_rate : float or None
        Of the first steps; Adam's become shorter in the last scale.  None: 0.038 for Adam, where
        the image has values in [0, 1], and 1 for L-BFGS.  A step also moves patches of up to 16
        pixels a side (`multilevel.precondition_`).
    color : {"style", "luminance", "match"}
        "style": the style's colours.  "luminance": only brightness is transferred and the
        content keeps its colours.  "match": the style is recoloured to the content's palette
        first (Gatys et al., arXiv 1606.05897).
    seed : int
        Of the noise that a run may start from.
    nan : {"error", "keep"}
        What to do with pixels of the content that are not finite: refuse them, or fill them
        for the run, in which they count nothing, and put them back.
    device : str
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    precision : {"auto", "float32", "bfloat16"}
        Of the network's convolutions.  Losses, statistics and the image stay float32 or wider.
    tile : int, "auto" or "off"
        The side of the tiles in which an image is evaluated, in pixels.  Loss and gradient are
        those of the whole image; memory is that of a tile, and time some two times that of
        the whole.  "auto": as large as memory allows, if not the whole.
    memory_limit : float or None
        GiB that a run may take; None: what is free when it begins.
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
    style_weight: _Weight = 1.0
    tv_weight: _Weight = 2.0
    style_weights: tuple[_Weight, ...] | None = None
    style_scale: Annotated[float | tuple[float, ...], BeforeValidator(_one_or_several)] = 1.0
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
    color: Literal["style", "luminance", "match"] = "style"
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

    def scales_of_styles(self, count: int) -> tuple[float, ...]:
        """Return the style scale of each of so many styles.

        Raises
        ------
        InputError
            If there are scales for another number of styles.
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
        """Return these settings with some choices made otherwise."""
        return StyleTransferSettings(**{**self.model_dump(), **choices})

    def to_json(self) -> str:
        """Return the settings as JSON, every choice spelled out."""
        return self.model_dump_json(indent=2)

    @classmethod
    def from_json(cls, text: str) -> StyleTransferSettings:
        """Return the settings that `to_json` wrote; choices left out have their defaults.

        Raises
        ------
        InputError
            If the text is not JSON, or not settings.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise InputError(_sentence(error)) from None


def _sentence(error: ValidationError) -> str:
    """Return the first of pydantic's complaints as one sentence."""
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
        wish = "it must be 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'"
    elif first["type"] == "value_error":
        wish = str(cause)
    elif first["type"] == "literal_error":
        wish = f"it must be {first['ctx']['expected']}"
    else:
        wish = first["msg"].replace("Input should be", "it must be")
    return f"{name} is {abridged(first['input'])}; {wish}."
