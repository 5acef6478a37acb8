"""Restyle one modality as another, measure what changes, and write docs/images/experiment-*.png.

Two experiments, described in docs/experiment.md: simulated cells with a known truth, fluorescence
restyled as phase contrast; and a real section, haematoxylin restyled as DAB.  Run it::

    python tools/experiment.py
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage import color, data, exposure, feature, filters, morphology, segmentation
from skimage import measure as regions

from napari_nst import stylize
from napari_nst.presets import preset
from napari_nst.ranges import Range

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    Plane = NDArray[np.float64]
    Labels = NDArray[np.int64]

# scikit-image's functions have no types.
gaussian: Any = filters.gaussian
threshold_otsu: Any = filters.threshold_otsu
expand_labels: Any = segmentation.expand_labels
immunohistochemistry: Any = data.immunohistochemistry
label: Any = regions.label
local_binary_pattern: Any = feature.local_binary_pattern
area_closing: Any = morphology.area_closing
area_opening: Any = morphology.area_opening
match_histograms: Any = exposure.match_histograms
peak_local_max: Any = feature.peak_local_max
regionprops: Any = regions.regionprops
rgb2hed: Any = color.rgb2hed
watershed: Any = segmentation.watershed

IMAGES = Path(__file__).parents[1] / "docs" / "images"
ITERATIONS = 100
RADIUS = 16.0  # of a cell, in pixels


# Images


@dataclass(frozen=True)
class Scene:
    """Simulated cells, independent of the instrument.

    Attributes
    ----------
    labels : ndarray of int
        Index of the cell at each pixel, 0 in the background: the true segmentation.
    thickness, nucleus, grain : ndarray of float
        Thickness of the cells; nuclei, in [0, 1]; texture of the organelles, around 0.
    expression : ndarray of float
        Amount of dye of the cell at each pixel; it differs from cell to cell.
    """

    labels: Labels
    thickness: Plane
    nucleus: Plane
    grain: Plane
    expression: Plane


def make_scene(seed: int, size: int = 256) -> Scene:
    """Return random cells that may touch but do not overlap."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size].astype(np.float64)
    labels = np.zeros((size, size), np.int64)
    nearest = np.full((size, size), np.inf)
    thickness, nucleus, expression = (np.zeros((size, size)) for _ in range(3))
    places: list[NDArray[np.float64]] = []
    for _ in range(4000):
        place = rng.uniform(0.6 * RADIUS, size - 0.6 * RADIUS, 2)
        if any(np.hypot(*(place - other)) < 2.1 * RADIUS for other in places):
            continue
        if len(places) >= max(2, round(22 * (size / 256) ** 2)):
            break
        places.append(place)
        dy, dx = y - place[0], x - place[1]
        angle = np.arctan2(dy, dx)
        tilt, stretch = rng.uniform(0, np.pi), rng.uniform(0.05, 0.3)
        outline = 1 + stretch * np.cos(2 * (angle - tilt))
        for harmonic in (3, 4, 5):
            wave = np.cos(harmonic * angle + rng.uniform(0, 6.28))
            outline += rng.normal(0, 0.12 / harmonic) * wave
        reach = np.hypot(dy, dx) / (RADIUS * rng.uniform(0.85, 1.1) * outline)
        inside = (reach < 1) & (reach < nearest)
        nearest[inside] = reach[inside]
        labels[inside] = len(places)
        thickness[inside] = np.sqrt(1 - reach[inside] ** 2) * rng.uniform(0.8, 1.2)
        off = rng.normal(0, 0.12 * RADIUS, 2)
        far = np.hypot(dy - off[0], dx - off[1]) / (0.42 * RADIUS)
        nucleus[inside] = (1 / (1 + np.exp(12 * (far - 1))))[inside]
        expression[inside] = rng.lognormal(0, 0.35)
    grain = gaussian(rng.normal(size=(size, size)), 1.3) - gaussian(
        rng.normal(size=(size, size)), 3
    )
    grain = grain / grain.std()
    return Scene(labels, thickness, nucleus, grain, expression)


def fluorescence(scene: Scene, seed: int) -> NDArray[np.uint16]:
    """Simulate a confocal image: a cytoplasmic dye, little background."""
    rng = np.random.default_rng([seed, 1])
    dye = scene.expression * scene.thickness * (1 - 0.6 * scene.nucleus)
    dye = dye * np.clip(1 + 0.2 * scene.grain, 0.2, None)
    photons = rng.poisson(2 + 90 * gaussian(dye, 1.0))
    counts = 100 + 20 * photons + rng.normal(0, 15, dye.shape)
    return Range.from_dtype(np.uint16).from_unit(counts / 65535, np.uint16)


def phase_contrast(scene: Scene, seed: int) -> NDArray[np.uint16]:
    """Simulate a phase contrast image: dark cells with bright halos, shaded inside.

    To first order, the phase plate subtracts a wide blur from the phase (Yin, Kanade and Chen,
    Medical Image Analysis 16, 2012).
    """
    rng = np.random.default_rng([seed, 2])
    inside = scene.labels > 0
    phase = scene.thickness * (1 + 0.10 * scene.grain) + 0.25 * scene.nucleus * inside
    phase = gaussian(phase, 0.8)
    filtered = phase - gaussian(phase, 7.0)
    y, x = np.mgrid[-1 : 1 : phase.shape[0] * 1j, -1 : 1 : phase.shape[1] * 1j]
    lamp = 1 - 0.06 * (x - 0.3) ** 2 - 0.05 * (y + 0.2) ** 2
    light = lamp * (1 - 0.55 * filtered) + rng.normal(0, 0.018, phase.shape)
    return Range.from_dtype(np.uint16).from_unit(9000 * light / 65535, np.uint16)


def section(stain: int) -> list[NDArray[np.uint16]]:
    """Return four quarters of scikit-image's section: 0 haematoxylin, 2 DAB, as absorbance."""
    absorbance = rgb2hed(immunohistochemistry())[..., stain]
    unit = Range.from_percentiles(absorbance).to_unit(absorbance)
    whole = Range(0, 65535).from_unit(unit, np.uint16)
    return [whole[y : y + 256, x : x + 256] for y in (0, 256) for x in (0, 256)]


# Methods


def histogram(content: Plane, style: Plane) -> Plane:
    """Match the histogram of the content to that of the style."""
    return np.asarray(match_histograms(content, style), np.float64)


def match_spectrum(content: Plane, style: Plane) -> Plane:
    """Match the radial power spectrum and then the histogram to those of the style.

    The unchanged phases preserve the structures; noise and sharpness change.
    """
    ring = _rings(content.shape)
    window = np.ones_like(content)
    gain = np.sqrt(_power(style, window) / np.maximum(_power(content, window), 1e-12))
    gain[0] = 1
    changed = np.fft.ifft2(np.fft.fft2(content) * gain[ring]).real
    return histogram(changed, style)


def restyle(content: Plane, style: Plane, iterations: int, **choices: Any) -> Plane:
    """Restyle the content with the preset for microscopy; `choices` override its settings."""
    settings = preset("grey-microscopy").replace(size=None, iterations=iterations, **choices)
    image = stylize(content.astype(np.float32), style.astype(np.float32), settings).image
    return np.asarray(image, np.float64)


# Measures


def wasserstein(a: Plane, b: Plane) -> float:
    """Return the Wasserstein-1 distance of the values of two images of the same size."""
    return float(np.abs(np.sort(a, axis=None) - np.sort(b, axis=None)).mean())


def spectrum_distance(a: Plane, b: Plane) -> float:
    """Return the mean difference of two radial power spectra, in decibels."""
    window = np.outer(np.hanning(a.shape[0]), np.hanning(a.shape[1]))
    first, second = (10 * np.log10(np.maximum(_power(i, window), 1e-12)) for i in (a, b))
    return float(np.abs(first - second)[1:].mean())


def contrast_distance(a: Plane, b: Plane) -> float:
    """Return the Wasserstein-1 distance of two images' local standard deviations."""
    return wasserstein(local_deviation(a), local_deviation(b))


def texture_distance(a: Plane, b: Plane) -> float:
    """Return the total variation distance, 0 to 1, of two histograms of local binary patterns.

    Uniform, rotation-invariant patterns of eight neighbours (Ojala et al., PAMI 24, 2002).
    """
    first, second = (
        np.bincount(_patterns(image).ravel(), minlength=10) / image.size for image in (a, b)
    )
    return float(np.abs(first - second).sum() / 2)


def dice(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the Dice coefficient of the nonzero pixels of two images; 1 if there are none."""
    a, b = a != 0, b != 0
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0


def f1(found: Labels, truth: Labels) -> float:
    """Return the F1 score of objects, found if their IoU with a true one is above 0.5."""
    pairs: NDArray[np.float64] = np.zeros((int(found.max()) + 1, int(truth.max()) + 1))
    np.add.at(pairs, (found.ravel(), truth.ravel()), 1)
    union = pairs.sum(1, keepdims=True) + pairs.sum(0, keepdims=True) - pairs
    hits = int((pairs[1:, 1:] / np.maximum(union[1:, 1:], 1) > 0.5).sum())
    total = len(np.unique(found[found > 0])) + len(np.unique(truth[truth > 0]))
    return 2 * hits / total if total else 1.0


def correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return Pearson's r."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def rank_correlation(image: Plane, original: Plane, labels: Labels) -> float:
    """Return Spearman's rank correlation of the cells' mean values in two images."""
    means = [
        [region.intensity_mean for region in regionprops(labels, intensity_image=i)]
        for i in (image, original)
    ]
    return correlation(*(np.argsort(np.argsort(values)) for values in means))


def local_deviation(image: Plane, sigma: float = 2.0) -> Plane:
    """Return the standard deviation around each pixel."""
    variance = gaussian(image**2, sigma) - gaussian(image, sigma) ** 2
    return np.asarray(np.sqrt(np.maximum(variance, 0)), np.float64)


def segment_fluorescence(image: Plane) -> Labels:
    """Find bright cells: blur, Otsu's threshold, watershed."""
    smooth = np.sqrt(np.maximum(gaussian(image, 1.5), 0))  # keeps dim cells above the threshold
    return _split(smooth > threshold_otsu(smooth))


def segment_phase(image: Plane) -> Labels:
    """Find dark cells: subtract the background, blur, Otsu's threshold, watershed, dilate."""
    smooth = gaussian(image - gaussian(image, 24.0), 2.5)
    # The threshold contour lies inside the cell, on the slope to its halo.
    return np.asarray(expand_labels(_split(smooth < threshold_otsu(smooth)), 2), np.int64)


def _split(mask: NDArray[np.bool_]) -> Labels:
    """Return the cells of a mask, separated by a watershed."""
    # Removes spots of up to 120 pixels, then holes of up to 200.
    mask = area_closing(area_opening(mask.astype(np.uint8), 121), 201).astype(bool)
    depth = gaussian(mask.astype(np.float64), 0.3 * RADIUS)  # grows with the distance to the edge
    seeds = np.zeros(mask.shape, np.int64)
    for number, peak in enumerate(
        peak_local_max(depth, min_distance=int(0.6 * RADIUS), labels=label(mask)), 1
    ):
        seeds[tuple(peak)] = number
    return np.asarray(watershed(-depth, seeds, mask=mask), np.int64)


def _patterns(image: Plane) -> NDArray[np.int64]:
    """Return the local binary pattern of each pixel, 0 to 9."""
    levels = np.rint(image.clip(0, 1) * 65535).astype(np.uint16)
    return np.asarray(local_binary_pattern(levels, 8, 1, "uniform"), np.int64)


def _rings(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the radial frequency of each element of a Fourier transform, rounded."""
    ring = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) * n for n in shape), indexing="ij"))
    return np.asarray(np.minimum(np.rint(ring), min(shape) // 2), np.int64)


def _power(image: Plane, window: Plane) -> Plane:
    """Return the mean power at each radial frequency."""
    spectrum = np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2
    ring = _rings(image.shape).ravel()
    mean = np.bincount(ring, spectrum.ravel()) / np.bincount(ring)
    return np.asarray(mean / image.size, np.float64)


# Experiments


@dataclass(frozen=True)
class Case:
    """A content, the true image of its field, and images of other fields.

    Attributes
    ----------
    content, truth : ndarray of float
        The same field in the source and the target modality, in [0, 1].
    others : sequence of ndarray
        Other fields in the target modality, except the style.
    labels : ndarray of int
        The true cells, or the positive pixels of the truth.
    """

    content: Plane
    truth: Plane
    others: Sequence[Plane]
    labels: Labels


@dataclass(frozen=True)
class Experiment:
    """Cases of a pair of modalities.

    Attributes
    ----------
    cases : sequence of Case
        The cases.
    style : ndarray of float
        The style, in [0, 1].
    target : Range
        Range of the target modality.
    judge : callable
        Return measures of the content of a result.
    inverted : bool
        Whether the contents are inverted; one more method then restyles the originals.
    """

    cases: Sequence[Case]
    style: Plane
    target: Range
    judge: Callable[[Plane, Case], dict[str, float]]
    inverted: bool = False


def cells(seeds: Sequence[int] = (1, 2, 3), size: int = 256) -> Experiment:
    """Prepare simulated cells: inverted fluorescence as content, phase contrast as style."""
    scenes = {seed: make_scene(seed, size) for seed in (0, *seeds)}
    dyed = {seed: fluorescence(scene, seed) for seed, scene in scenes.items()}
    clear = {seed: phase_contrast(scene, seed) for seed, scene in scenes.items()}
    source = Range.from_percentiles(np.stack([dyed[seed] for seed in seeds]))
    target = Range.from_percentiles(clear[0])
    unit = {seed: target.to_unit(image).astype(np.float64) for seed, image in clear.items()}
    cases = [
        Case(
            content=1 - source.to_unit(dyed[seed]).astype(np.float64),
            truth=unit[seed],
            others=[unit[other] for other in seeds if other != seed],
            labels=scenes[seed].labels,
        )
        for seed in seeds
    ]
    return Experiment(cases, unit[0], target, judge_cells, inverted=True)


def judge_cells(image: Plane, case: Case) -> dict[str, float]:
    """Segment a result like phase contrast, and compare it with the true cells."""
    found = segment_phase(image)
    return {
        "r with truth": correlation(image, case.truth),
        "Dice": dice(found, case.labels),
        "F1": f1(found, case.labels),
        "count, % of true": 100 * len(np.unique(found[found > 0])) / int(case.labels.max()),
        "rank r with dye": rank_correlation(image, case.content, case.labels),
    }


def stains() -> Experiment:
    """Prepare the real section: haematoxylin as content, the second quarter of DAB as style."""
    target = Range.from_dtype(np.uint16)
    first, second = (
        [target.to_unit(image).astype(np.float64) for image in section(stain)] for stain in (0, 2)
    )
    style = second.pop(1)
    first.pop(1)
    threshold = threshold_otsu(style)
    cases = [
        Case(a, b, [c for c in second if c is not b], (b > threshold).astype(np.int64))
        for a, b in zip(first, second, strict=True)
    ]

    def judge(image: Plane, case: Case) -> dict[str, float]:
        positive = image > threshold
        return {
            "r with truth": correlation(image, case.truth),
            "r with content": correlation(image, case.content),
            "Dice of positive": dice(positive, case.labels),
            "positive, %": 100 * float(positive.mean()),
            "truly positive, %": 100 * float(case.labels.mean()),
        }

    return Experiment(cases, style, target, judge)


def results(case: Case, experiment: Experiment, iterations: int) -> dict[str, Plane]:
    """Return the result of each method by its name."""
    content, style = case.content, experiment.style
    more: dict[str, Any] = {"color": "style", "content_weight": 0.25, "tv_weight": 0.5}
    images = {
        "untouched": content,
        "histogram": histogram(content, style),
        "spectrum and histogram": match_spectrum(content, style),
        "restyled, preset": restyle(content, style, iterations),
        "restyled, more style": restyle(content, style, iterations, **more),
    }
    for name in ("restyled, preset", "restyled, more style"):
        images[f"{name}; then histogram"] = histogram(images[name], style)
    if experiment.inverted:
        images["restyled, more style, not inverted"] = restyle(
            1 - content, style, iterations, **more
        )
    return images


def measure(image: Plane, case: Case, experiment: Experiment) -> dict[str, float]:
    """Return the distances to images of the target modality, and measures of the content."""
    distances: dict[str, Callable[[Plane, Plane], float]] = {
        "grey, W1": wasserstein,
        "spectrum, dB": spectrum_distance,
        "contrast, W1": contrast_distance,
        "texture": texture_distance,
    }
    found = {
        name: float(np.mean([distance(image, other) for other in case.others]))
        for name, distance in distances.items()
    }
    return found | experiment.judge(image, case)


def run(
    experiment: Experiment, iterations: int = ITERATIONS
) -> tuple[dict[str, list[dict[str, float]]], dict[str, Plane]]:
    """Return the measures of each method, case by case, and the pictures of the first case."""
    target = experiment.target
    measures: dict[str, list[dict[str, float]]] = {}
    pictures: dict[str, Plane] = {}
    for case in experiment.cases:
        images = results(case, experiment, iterations)
        for name, image in images.items():
            stored = target.from_unit(image, np.uint16)  # include the rounding of a saved file
            images[name] = target.to_unit(stored).astype(np.float64)
        images["the truth"] = case.truth
        for name, image in images.items():
            measures.setdefault(name, []).append(measure(image, case, experiment))
        pictures = pictures or images | {"the style": experiment.style}
    return measures, pictures


def table(measures: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Return mean ± standard deviation over the cases, in Markdown."""
    columns = list(next(iter(measures.values()))[0])
    lines = ["| | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    for name, cases in measures.items():
        row = []
        for column in columns:
            values = [case[column] for case in cases]
            digits = 0 if "%" in column else 1 if "dB" in column else 3 if "W1" in column else 2
            row.append(f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}")
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def figure(pictures: Mapping[str, Plane], names: Mapping[str, str]) -> Image.Image:
    """Return the pictures in rows of four with captions."""
    font = ImageFont.load_default(15)
    height, width = next(iter(pictures.values())).shape
    step_y, step_x = height + 30, width + 8
    rows = -(-len(names) // 4)
    sheet = Image.new("L", (4 * step_x - 8, rows * step_y), 255)
    draw = ImageDraw.Draw(sheet)
    for number, (name, caption) in enumerate(names.items()):
        left, top = number % 4 * step_x, number // 4 * step_y
        grey = np.rint(255 * pictures[name].clip(0, 1)).astype(np.uint8)
        draw.text((left + 2, top + 7), caption, fill=0, font=font)
        sheet.paste(Image.fromarray(grey), (left, top + 28))
    return sheet


def main() -> None:
    """Run both experiments, print their tables and write their pictures."""
    parser = argparse.ArgumentParser(description="Restyle one modality as another, and measure it.")
    parser.add_argument("--iterations", type=int, default=ITERATIONS)
    parser.add_argument("--images", type=Path, default=IMAGES, help="the folder for the pictures")
    chosen = parser.parse_args()
    captions = {
        "untouched": "content",
        "the style": "style: another field",
        "the truth": "truth: the same field",
        "histogram": "histogram",
        "spectrum and histogram": "spectrum and histogram",
        "restyled, preset": "restyled, preset",
        "restyled, preset; then histogram": "preset; then histogram",
        "restyled, more style": "restyled, more style",
    }
    for name, experiment in {"cells": cells(), "section": stains()}.items():
        measures, pictures = run(experiment, chosen.iterations)
        print(f"\n{name}\n\n{table(measures)}", flush=True)
        file = chosen.images / f"experiment-{name}.jpg"
        figure(pictures, captions).save(file, quality=88)


if __name__ == "__main__":
    main()
