"""Every choice of a run, validated, immutable, and saved as JSON."""

from __future__ import annotations

import difflib
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
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
from napari_nst.networks import NETWORKS

__all__ = ["LayerWeights", "StyleTransferSettings"]


class LayerWeights(Mapping[str, float]):
    """Layers and their weights: an immutable mapping, in the order given.

    Parameters
    ----------
    weights : mapping of str to float, or iterable of str
        Names alone get equal weights that sum to one (w_l of arXiv 1508.06576, equation 5).

    Raises
    ------
    ValueError
        If a name is not a string or is given twice, or a weight is not a number of 0 or more.
    """

    def __init__(self, weights: Mapping[str, float] | Iterable[str]) -> None:
        if isinstance(weights, str):
            weights = (weights,)
        if not isinstance(weights, Iterable):
            raise ValueError("it must name layers, or give them weights")
        if not isinstance(weights, Mapping):
            names = Counter(map(_layer_name, weights))
            for name, count in names.items():
                if count > 1:
                    raise ValueError(f"it must name {abridged(name)} only once")
            weights = dict.fromkeys(names, 1 / max(len(names), 1))
        self._weights = {_layer_name(name): _weight(name, weights[name]) for name in weights}

    def __getitem__(self, name: str) -> float:
        """Return the weight of a layer."""
        return self._weights[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the layers."""
        return iter(self._weights)

    def __len__(self) -> int:
        """Return the number of layers."""
        return len(self._weights)

    def __hash__(self) -> int:
        """Hash the layers and their weights."""
        return hash(frozenset(self._weights.items()))

    def __repr__(self) -> str:
        """Show the layers and their weights as a dictionary."""
        return repr(self._weights)

    @property
    def active(self) -> tuple[str, ...]:
        """The layers whose weight is not zero."""
        return tuple(name for name, weight in self._weights.items() if weight)


def _layer_name(name: object) -> str:
    if not isinstance(name, str):
        raise ValueError(f"the name of a layer is {abridged(name)}, and must be a string")
    return str(name)  # numpy's strings, too, become plain ones


def _weight(name: str, weight: Any) -> float:
    try:
        number = float(weight)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not (number >= 0 and math.isfinite(number)):
        raise ValueError(
            f"the weight of {abridged(name)} is {abridged(weight)}, and must be 0 or more"
        )
    return number


def _path_as_text(value: object) -> object:
    """Let a path be given as such; settings hold text, which JSON can say."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


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
        alpha and beta of arXiv 1508.06576, equation 7.
    tv_weight : float
        Weight of the total variation, which smooths noise away (`losses.total_variation`).
    style_weights : tuple of float or None
        The share of each of several styles; None: equal shares.
    style_scale : float
        The style image's longest side relative to the content's, at every scale.  Larger
        values make larger strokes.  Beside a narrow content it is less (`costs.fit_style`).
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
        How many sizes the picture grows through.  "auto": from about 128 pixels, by the
        square root of two.
    iterations : int
        Evaluations of loss and gradient, in total over all scales.
    optimizer : {"adam", "lbfgs"}
        How the picture moves.  The paper uses L-BFGS.
    learning_rate : float or None
        None: 0.02 for Adam, where the image has values in [0, 1], and 1 for L-BFGS.
    color : {"style", "luminance", "match"}
        "style": the style's colours.  "luminance": only brightness is transferred and the
        content keeps its colours.  "match": the style is recoloured to the content's palette
        first (Gatys et al., arXiv 1606.05897).
    seed : int
        Of the noise that a run may start from.
    nan : {"error", "keep"}
        What to do with pixels of the content that are not finite: refuse them, or fill them
        for the run and put them back.
    device : str
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    precision : {"auto", "float32", "bfloat16"}
        Of the network's convolutions.  Losses, statistics and the image stay float32 or wider.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    network: Literal["vgg16", "vgg19"] = "vgg16"
    weights: Annotated[str | None, BeforeValidator(_path_as_text)] = None
    content_layers: _Layers = LayerWeights(("relu4_2",))
    style_layers: _Layers = LayerWeights(
        {"relu1_1": 0.3, "relu2_1": 0.25, "relu3_1": 0.2, "relu4_1": 0.15, "relu5_1": 0.1}
    )
    style_loss: Literal["gram", "gram+moments", "wasserstein"] = "gram"
    normalize_gradients: bool = True
    content_weight: _Weight = 0.1
    style_weight: _Weight = 1.0
    tv_weight: _Weight = 5.0
    style_weights: tuple[_Weight, ...] | None = None
    style_scale: _Positive = 1.0
    pooling: Literal["max", "average"] = "max"
    rescale_pooling: bool = True
    padding: Literal["replicate", "zero"] = "replicate"
    init: Literal["content", "noise", "style", "image"] = "content"
    size: Annotated[_Count | Literal["auto"] | None, _number_or_word("auto", "none")] = "auto"
    output_size: Literal["content", "working"] = "content"
    scales: Annotated[_Count | Literal["auto"], _number_or_word("auto")] = "auto"
    iterations: _Count = 160
    optimizer: Literal["adam", "lbfgs"] = "adam"
    learning_rate: _Positive | None = None
    color: Literal["style", "luminance", "match"] = "style"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    nan: Literal["error", "keep"] = "error"
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$")] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

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
        if not (self.content_layers.active or self.style_layers.active):
            raise InputError("content_layers and style_layers are both empty; name one layer.")
        if self.style_weights is not None and not sum(self.style_weights) > 0:
            raise InputError("style_weights are all zero; give at least one style a share.")
        return self

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
