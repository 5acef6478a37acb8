"""Agreement of self-similarities: formula, invariances, parts and weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from on_device import DEVICE

from napari_nst.engine.losses.structure import Structure, StructureSums, structure_layers
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

EVERYWHERE = slice(None), slice(None)


def features(seed: int, channels: int = 6, height: int = 9, width: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((1, channels, height, width), generator=generator).to(DEVICE)


def structure_of(content: Tensor, weights: Tensor | None = None) -> Structure:
    structure = Structure((content.shape[-2], content.shape[-1]), content, weights)
    structure.set_content(structure.sums(content, *EVERYWHERE))
    return structure


def agreement(content: Tensor, image: Tensor, weights: Tensor | None = None) -> float:
    structure = structure_of(content, weights)
    return float(structure.agreement(structure.sums(image, *EVERYWHERE)))


def similarities(array: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return cosine similarities of centred columns (C, N)."""
    centred = array - (array * weights).sum(axis=1, keepdims=True) / weights.sum()
    unit = centred / np.linalg.norm(centred, axis=0)
    return np.asarray(unit.T @ unit)


def cosine(a: NDArray[np.float64], b: NDArray[np.float64], pairs: NDArray[np.float64]) -> float:
    norms = [np.sqrt((pairs * x * x).sum()) for x in (a, b)]
    return float((pairs * a * b).sum() / norms[0] / norms[1])


def test_it_is_the_cosine_of_the_similarities_of_different_positions() -> None:
    content, image = features(1), features(2)
    ones = np.ones(63)
    a, b = (similarities(x.cpu().numpy().reshape(6, 63), ones) for x in (content, image))
    assert agreement(content, image) == pytest.approx(cosine(a, b, 1 - np.eye(63)), abs=1e-5)


def test_positions_count_by_their_weights() -> None:
    content, image = features(1), features(2)
    weights = torch.rand((9, 7), generator=torch.Generator().manual_seed(3)).to(DEVICE)
    w = weights.cpu().numpy().astype(np.float64).ravel()
    a, b = (similarities(x.cpu().numpy().reshape(6, 63), w) for x in (content, image))
    pairs = np.outer(w, w) * (1 - np.eye(63))
    assert agreement(content, image, weights) == pytest.approx(cosine(a, b, pairs), abs=1e-5)


def test_positions_without_weight_do_not_count() -> None:
    content, image = features(1), features(2)
    weights = torch.ones(9, 7, device=DEVICE)
    weights[:4] = 0
    other = image.clone()
    other[..., :4, :] = 100
    assert agreement(content, other, weights) == agreement(content, image, weights)
    assert agreement(content, image, weights) == pytest.approx(
        agreement(content[..., 4:, :], image[..., 4:, :]), abs=1e-5
    )


@pytest.mark.parametrize("size", [(70, 33), (64, 64), (33, 100)])
def test_large_layers_are_compared_by_the_means_of_cells(size: tuple[int, int]) -> None:
    content, image = features(1, 4, *size), features(2, 4, *size)
    side = -(-max(size) // 32)

    def means(x: Tensor) -> Tensor:
        rows = [
            torch.stack([part.mean(dim=(-2, -1)) for part in row.split(side, dim=-1)], dim=-1)
            for row in x.split(side, dim=-2)
        ]
        return torch.stack(rows, dim=-2)

    # Cells that the end of the layer cuts have less weight.
    counts = means(torch.ones_like(content)) * 0 + 1
    areas = torch.tensor(
        [
            [min(side, size[0] - y) * min(side, size[1] - x) for x in range(0, size[1], side)]
            for y in range(0, size[0], side)
        ]
    ).to(counts)
    w = (areas / areas.max()).cpu().numpy().astype(np.float64).ravel()
    a, b = (similarities(means(x).cpu().numpy().reshape(4, -1), w) for x in (content, image))
    pairs = np.outer(w, w) * (1 - np.eye(len(w)))
    assert agreement(content, image) == pytest.approx(cosine(a, b, pairs), abs=1e-5)


@given(st.floats(0.1, 10), st.floats(-3, 3), st.integers(0, 100))
def test_it_does_not_change_with_contrast_and_brightness(
    contrast: float, brightness: float, seed: int
) -> None:
    content, image = features(seed), features(seed + 1)
    changed = contrast * image + brightness
    assert agreement(content, changed) == pytest.approx(agreement(content, image), abs=1e-3)
    assert agreement(content, contrast * content + brightness) == pytest.approx(1, abs=1e-3)


def test_the_content_agrees_with_itself_and_other_images_less() -> None:
    content = features(1)
    assert agreement(content, content) == pytest.approx(1, abs=1e-6)
    assert agreement(content, content.flip(-1)) < 0.9
    assert abs(agreement(content, features(2))) < 0.5


@pytest.mark.parametrize("level", [0.0, 0.7])
def test_a_content_of_one_colour_is_always_kept(level: float) -> None:
    content = torch.full((1, 6, 9, 7), level, device=DEVICE)
    assert agreement(content, features(2)) == 1


def test_sums_of_parts_add_up_to_those_of_the_whole() -> None:
    content, image = features(1, 4, 70, 50), features(2, 4, 70, 50)
    structure = {"relu2_1": structure_of(content)}
    whole, parts = StructureSums(structure), StructureSums(structure)
    whole.add("relu2_1", image, *EVERYWHERE)
    for rows in (slice(0, 31), slice(31, 70)):
        for columns in (slice(0, 17), slice(17, 50)):
            parts.add("relu2_1", image[..., rows, columns], rows, columns)
    assert float(parts.agreement()) == pytest.approx(float(whole.agreement()), abs=1e-5)


def test_layers_count_by_their_weights_and_others_not_at_all() -> None:
    contents, image = {"relu1_1": features(1), "relu2_1": features(2)}, features(3)
    structures = {name: Structure((9, 7), content) for name, content in contents.items()}
    target, sums = StructureSums(structures), StructureSums(structures)
    for name, content in contents.items():
        target.add(name, content, *EVERYWHERE)
    target.set_content({"relu1_1": 0.25, "relu2_1": 0.75})
    for name in ("relu1_1", "relu2_1", "relu3_1"):
        sums.add(name, image, *EVERYWHERE)
    first, second = (agreement(content, image) for content in contents.values())
    assert float(sums.agreement()) == pytest.approx(0.25 * first + 0.75 * second, abs=1e-6)


def test_the_content_layers_have_one_half_and_the_deepest_style_layer_the_other() -> None:
    def layers(content: object, style: object) -> dict[str, float]:
        settings = StyleTransferSettings(content_layers=content, style_layers=style)
        return structure_layers(settings)

    shallow_to_deep = ("relu1_1", "relu5_1", "relu3_1")
    assert layers(("relu4_2",), shallow_to_deep) == {"relu4_2": 0.5, "relu5_1": 0.5}
    assert layers({"relu2_2": 1, "relu4_2": 3}, ("relu3_1",)) == {
        "relu2_2": 0.125,
        "relu4_2": 0.375,
        "relu3_1": 0.5,
    }
    assert layers(("relu4_2",), ("relu4_2",)) == {"relu4_2": 1}
    assert layers(("relu4_2",), ()) == {"relu4_2": 1}
    assert structure_layers(StyleTransferSettings(optimizer="lbfgs")) == {}
