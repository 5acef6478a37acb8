"""Compare the quality of the default settings' results with a reference; see docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from pairs import PAIRS, with_images
from rich.console import Console
from rich.table import Table
from skimage.color import rgb2gray
from skimage.filters import gaussian, sobel
from torch.nn import functional

from napari_nst.engine.images.color import luminance, prepare
from napari_nst.engine.images.pictures import Picture, resize
from napari_nst.engine.losses.structure import Structure
from napari_nst.engine.network import weights
from napari_nst.engine.network.statistics import Statistics
from napari_nst.engine.network.vgg import FeatureExtractor
from napari_nst.engine.optim.sizes import style_size
from napari_nst.engine.resources.device import Device
from napari_nst.engine.run.transfer import StyleTransfer
from napari_nst.files import write_image
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["Measures", "measure"]

_PAIRS = tuple(PAIRS[index] for index in (0, 3, 4))
_REFERENCE = Path(__file__).with_suffix(".json")

# Layers of the style distance and of the self-similarity: none that the default optimises.
_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
_DEEP_LAYERS = ("relu3_3", "relu4_3", "relu5_2")
_BLURS = (1.0, 2.0, 4.0)  # pixels: scales of the edges

# Worse than the reference by more than this share of it is a failure.
_TOLERANCE = {"style_distance": 0.05, "structure": 0.05, "similarity": 0.05, "noise": 0.1}
_MORE_IS_BETTER = ("structure", "similarity")


@dataclass(frozen=True)
class Measures:
    """Quality of a result, and duration of the run.

    Attributes
    ----------
    style_distance : float
        Mean of ||G - A|| / ||A|| over `_LAYERS`; 0 for the statistics of the style.
    structure : float
        Correlation of the edges of result and content, from -1 to 1.
    similarity : float
        Agreement of the self-similarities of result and content (`engine.losses.structure`), mean
        over `_DEEP_LAYERS`, from -1 to 1.
    noise : float
        Energy of the finest detail, relative to the style's.
    seconds : float
        Duration of the run.
    """

    style_distance: float
    structure: float
    similarity: float
    noise: float
    seconds: float


def measure(
    name: str,
    content: NDArray[np.uint8],
    style: NDArray[np.uint8],
    settings: StyleTransferSettings,
    folder: Path | None = None,
) -> Measures:
    """Run a transfer and measure its result.

    Parameters
    ----------
    name : str
        Name of the file of the result.
    content, style : ndarray
        Images of 8 bits.
    settings : StyleTransferSettings
        Settings of the run; the result must have the working size.
    folder : Path, optional
        Where to save the result.
    """
    began = time.perf_counter()
    run = StyleTransfer(content, style, settings)
    for _ in run:
        pass
    result = run.result().image
    seconds = time.perf_counter() - began
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_image(folder / f"{name}.png", result)
    last = run.scales[-1]
    style_shape = style_size(settings, (style.shape[0], style.shape[1]), last)
    seen_content = _resized(content, (last.height, last.width))
    seen_style = _resized(style, style_shape)
    return Measures(
        _style_distance(*_as_compared(result, seen_content, seen_style, settings)),
        _structure(result, seen_content),
        _similarity(result, seen_content),
        _fine_energy(result) / _fine_energy(seen_style),
        seconds,
    )


def _as_compared(
    result: NDArray[np.float32],
    content: NDArray[np.float32],
    style: NDArray[np.float32],
    settings: StyleTransferSettings,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return result and style in the channels and colours in which the run compares them."""
    images = [Picture.from_array(image, "image").pixels for image in (result, content, style)]
    own, (target,) = prepare(images[1], [images[2]], settings.color)
    result = luminance(images[0]) if own.shape[1] == 1 else images[0]
    return tuple(image[0].movedim(0, -1).squeeze(-1).numpy() for image in (result, target))


def _resized(image: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.float32]:
    picture = Picture.from_array(image, "sample")
    return picture.assemble(resize(picture.pixels, *shape))


def _features(image: NDArray[np.float32], layers: Sequence[str]) -> Mapping[str, Tensor]:
    network = FeatureExtractor("vgg16", weights.load("vgg16").tensors, layers)
    with torch.no_grad():
        return network(Picture.from_array(image, "result").pixels)


def _style_distance(result: NDArray[np.float32], style: NDArray[np.float32]) -> float:
    of_result, of_style = (
        {
            layer: Statistics.from_features(features).second_moment
            for layer, features in _features(image, _LAYERS).items()
        }
        for image in (result, style)
    )
    return float(
        np.mean(
            [
                torch.linalg.norm(of_result[layer] - target) / torch.linalg.norm(target)
                for layer, target in of_style.items()
            ]
        )
    )


def _similarity(result: NDArray[np.float32], content: NDArray[np.float32]) -> float:
    """Return the mean agreement of self-similarities over deep layers."""
    own, target = (_features(image, _DEEP_LAYERS) for image in (result, content))
    whole = slice(None), slice(None)
    agreements = []
    for layer, features in target.items():
        structure = Structure((features.shape[-2], features.shape[-1]), features)
        structure.set_content(structure.sums(features, *whole))
        agreements.append(float(structure.agreement(structure.sums(own[layer], *whole))))
    return float(np.mean(agreements))


def _structure(result: NDArray[np.float32], content: NDArray[np.float32]) -> float:
    """Return the mean correlation of edge strengths over several blurs."""
    correlations = []
    for blur in _BLURS:
        edges = [sobel(_blurred(_grey(image), blur)) for image in (result, content)]  # type: ignore[no-untyped-call]
        correlations.append(np.corrcoef(*(edge.ravel() for edge in edges))[0, 1])
    return float(np.mean(correlations))


def _fine_energy(image: NDArray[np.float32]) -> float:
    grey = _grey(image)
    return float(np.mean((grey - _blurred(grey, 1)) ** 2))


def _grey(image: NDArray[np.float32]) -> NDArray[np.float32]:
    grey: NDArray[np.float32] = image if image.ndim == 2 else rgb2gray(image)  # type: ignore[no-untyped-call]
    return grey


def _blurred(grey: NDArray[np.float32], blur: float) -> NDArray[np.float32]:
    blurred: NDArray[np.float32] = gaussian(grey, blur)  # type: ignore[no-untyped-call]
    return blurred


@contextmanager
def _emulated_bfloat16() -> Iterator[None]:
    """Compute convolutions in float32, with inputs and outputs rounded to bfloat16.

    This is what hardware with bfloat16 does.  On other hardware torch is many times slower.
    """
    convolve = functional.conv2d

    def rounded(x: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
        wide = convolve(x.float(), weight.float(), bias.float(), padding=padding)
        return wide.to(x.dtype)

    functional.conv2d = rounded
    try:
        yield
    finally:
        functional.conv2d = convolve


def _worse(measured: Measures, reference: Mapping[str, float]) -> list[str]:
    """Return the names of the measures that are worse by more than the tolerance."""
    now = asdict(measured)
    names = []
    for name, tolerance in _TOLERANCE.items():
        sign = -1 if name in _MORE_IS_BETTER else 1
        excess = sign * (now[name] - reference[name])
        if not excess <= tolerance * abs(reference[name]):  # NaN is also worse
            names.append(name)
    return names


def _table(results: Mapping[str, Measures], references: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table("pair", *(name.replace("_", " ") for name in Measures.__annotations__))
    if references:
        table.caption = "In brackets the reference; red is worse by more than the tolerance."
    for key, measured in results.items():
        worse = _worse(measured, references[key]) if references else []
        cells = []
        for name, value in asdict(measured).items():
            cell = f"{value:.3f}"
            if references and name in _TOLERANCE:
                cell += f" ({references[key][name]:.3f})"
            cells.append(f"[red]{cell}[/]" if name in worse else cell)
        table.add_row(key, *cells)
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="longest side (default: 256)")
    parser.add_argument("--iterations", type=int, help="for a quick try, without a comparison")
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="of the features; bfloat16 is emulated without hardware for it (default: auto)",
    )
    parser.add_argument("--save", action="store_true", help=f"write {_REFERENCE.name}")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="write the results there")
    options = parser.parse_args(arguments)
    if options.save and (options.iterations or options.precision != "auto"):
        parser.error("--save is for the default: leave out --iterations and --precision")
    settings = StyleTransferSettings(
        size=options.size, output_size="working", precision=options.precision
    )
    if options.iterations:
        settings = settings.replace(iterations=options.iterations)
    rounding: AbstractContextManager[object] = nullcontext()
    if options.precision == "bfloat16":
        if Device.from_settings(StyleTransferSettings()).dtype != torch.bfloat16:
            rounding = _emulated_bfloat16()

    with rounding:
        results = {
            name: measure(name, content, style, settings, options.pictures)
            for name, content, style in with_images(_PAIRS, None)
        }
    numbers = {key: asdict(measured) for key, measured in results.items()}
    stored = json.loads(_REFERENCE.read_text()) if _REFERENCE.exists() else {}
    compared = {} if options.iterations or options.save else stored.get(str(options.size), {})
    console = Console(stderr=True)
    console.print(_table(results, compared))
    print(json.dumps({str(options.size): numbers}, indent=2))
    if options.save:
        _REFERENCE.write_text(json.dumps(stored | {str(options.size): numbers}, indent=2) + "\n")
        return 0
    if not compared:
        console.print("Nothing was compared: there is no reference for this size and iterations.")
        return 0
    return int(any(_worse(measured, compared[key]) for key, measured in results.items()))


if __name__ == "__main__":
    sys.exit(main())
