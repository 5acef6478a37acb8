"""NNPACK's convolution in strips, compared with torch's."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from napari_nst.engine.network import nnpack
from napari_nst.engine.network.nnpack import NnpackConvolution, is_nnpack_available

pytestmark = pytest.mark.skipif(not is_nnpack_available(), reason="torch has no NNPACK")


def random(*shape: int, seed: int) -> torch.Tensor:
    found = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    layout = torch.channels_last if len(shape) == 4 else torch.contiguous_format
    return found.contiguous(memory_format=layout)


@pytest.mark.parametrize("size", [(40, 33), (17, 64), (9, 8), (1, 20)])
@pytest.mark.parametrize("strip_bytes", [1, 200_000, nnpack.NNPACK_BYTES])
def test_results_equal_those_of_torch_up_to_rounding(
    size: tuple[int, int], strip_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nnpack, "NNPACK_BYTES", strip_bytes)
    image, weight = random(1, 16, *size, seed=0), random(32, 16, 3, 3, seed=1)
    bias, gradient = random(32, seed=2), random(1, 32, *size, seed=3)
    convolution = NnpackConvolution(weight)
    before = image.clone()
    found, found_gradient = convolution(image, bias), convolution.gradient(gradient)
    exact = functional.conv2d(image.double(), weight.double(), bias.double(), padding=1)
    exact_gradient = functional.conv_transpose2d(gradient.double(), weight.double(), padding=1)
    for result, expected in ((found, exact), (found_gradient, exact_gradient)):
        assert (result - expected).norm() < 1e-5 * expected.norm()
        assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(image, before)
    assert torch.equal(convolution(image, bias), found)


@pytest.mark.parametrize("name", ["_nnpack_available", "_nnpack_spatial_convolution"])
def test_nnpack_is_unavailable_if_torch_lacks_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(torch, name)
    assert not is_nnpack_available()
