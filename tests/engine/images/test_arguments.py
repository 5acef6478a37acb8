"""Arguments that are images: conversion to arrays, and messages about other objects."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from napari_nst.engine.images.arguments import as_array, as_list
from napari_nst.engine.images.assignment import check_labels
from napari_nst.engine.images.inputs import Inputs
from napari_nst.engine.images.pictures import Picture
from napari_nst.errors import InputError
from napari_nst.settings import StyleTransferSettings

PICTURE = np.random.default_rng(0).random((9, 12, 3)).astype(np.float32)
BYTES = (255 * PICTURE).astype(np.uint8)


class Lazy:
    """A lazy array, like those of dask and xarray."""

    shape = PICTURE.shape

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return PICTURE.astype(dtype or PICTURE.dtype)


@pytest.mark.parametrize(
    "given",
    [
        PICTURE.tolist(),
        tuple(map(tuple, PICTURE.tolist())),
        list(PICTURE),
        torch.from_numpy(PICTURE),
        torch.from_numpy(PICTURE).requires_grad_(),
        Lazy(),
        np.ma.masked_array(PICTURE),
    ],
    ids=["lists", "tuples", "rows", "tensor", "with gradient", "lazy", "unmasked"],
)
def test_array_likes_are_images(given: Any) -> None:
    expected = Picture.from_array(PICTURE, "style").pixels
    torch.testing.assert_close(Picture.from_array(given, "style").pixels, expected)
    inputs = Inputs(PICTURE, given, StyleTransferSettings())
    assert [style.shape for style in inputs.styles] == [(9, 12)]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_pil_images_of_colours_are_images(mode: str) -> None:
    image = Image.fromarray(BYTES).convert("L").convert(mode)
    found = as_array(image, "style")
    assert found.shape[:2] == (9, 12)
    np.testing.assert_array_equal(found, np.asarray(image))


@pytest.mark.parametrize("mode", ["P", "1", "CMYK", "HSV", "LAB", "YCbCr", "I"])
def test_pil_images_of_other_modes_raise(mode: str) -> None:
    image = Image.fromarray(BYTES)
    if mode in ("P", "1", "CMYK", "HSV", "YCbCr", "I"):
        image = image.convert("L" if mode == "I" else "RGB").convert(mode)
    else:
        image = Image.frombytes(mode, (12, 9), BYTES.tobytes())
    with pytest.raises(InputError, match=rf"style is a PIL image of mode '{mode}'; .*convert"):
        Picture.from_array(image, "style")


@pytest.mark.parametrize("path", ["photo.png", Path("photos") / "photo.png", b"photo.png"])
def test_a_path_raises_with_advice_to_read_the_file(path: Any) -> None:
    for name in ("content", "style", "init_image"):
        with pytest.raises(InputError, match=rf"^{name} is .*photo.png.*files\.read_image"):
            Picture.from_array(path, name)
    with pytest.raises(InputError, match=r"labels is .*photo.png.*files\.read_labels"):
        check_labels(path, "labels", (9, 12), "content")
    assert as_list([path]) == [path]


def test_a_layer_raises_with_advice_to_use_stylize_layer() -> None:
    layer = SimpleNamespace(name="cells", data=PICTURE, as_layer_data_tuple=lambda: ())
    with pytest.raises(InputError, match=r"content is the napari layer 'cells'.*stylize_layer"):
        Picture.from_array(layer, "content")


def test_masked_values_raise() -> None:
    masked = np.ma.masked_array(BYTES, np.zeros(BYTES.shape, bool))
    masked[1, 2] = np.ma.masked
    with pytest.raises(InputError, match=r"content is a masked array with 3 values masked; .*NaN"):
        Picture.from_array(masked, "content")


@pytest.mark.parametrize(
    ("shape", "advice"),
    [
        ((3, 9, 12), r"put them last with numpy\.moveaxis\(image, 0, -1\)"),
        ((4, 9, 12), r"put them last with numpy\.moveaxis\(image, 0, -1\)"),
        ((1, 9, 12), r"leave out the axes of one, image\[0\]"),
        ((1, 3, 9, 12), r"put them last with numpy\.moveaxis\(image\[0\], 0, -1\)"),
        ((1, 1, 9, 12), r"leave out the axes of one, image\[0\]\[0\]"),
        ((9, 12, 1), r"leave out the last axis, image\[\.\.\., 0\]"),
        ((2, 3, 9, 12), "several styles are a list of arrays"),
        ((5, 9, 12, 3), "several styles are a list of arrays"),
        ((5, 9, 12), "several styles are a list of arrays"),
        ((9,), r"or \(height, width, 4\)\.$"),
    ],
)
@pytest.mark.parametrize("make", [np.zeros, torch.zeros], ids=["array", "tensor"])
def test_another_order_of_axes_raises_with_advice_to_change_it(
    make: Any, shape: tuple[int, ...], advice: str
) -> None:
    with pytest.raises(InputError, match=rf"^style has shape \({shape[0]},.*{advice}"):
        Picture.from_array(make(shape), "style")


@pytest.mark.parametrize("dtype", ["complex64", "object", "datetime64[s]", "U4", "bool", "int64"])
def test_values_that_are_no_intensities_raise(dtype: str) -> None:
    with pytest.raises(InputError, match=r"content has dtype .*; it must be uint8, uint16, or"):
        Picture.from_array(np.zeros((9, 12), dtype), "content")


def test_objects_that_are_no_arrays_raise() -> None:
    with pytest.raises(InputError, match="content cannot be made an array"):
        Picture.from_array([[1.0, 2.0], [3.0]], "content")
    with pytest.raises(InputError, match=r"style has shape \(\)"):
        Picture.from_array(None, "style")


@pytest.mark.parametrize(
    ("given", "count"),
    [
        (PICTURE, 1),
        ([PICTURE], 1),
        ((PICTURE, PICTURE[..., 0]), 2),
        ([PICTURE.tolist(), PICTURE.tolist()], 2),
        ([PICTURE[..., 0].tolist()] * 3, 3),
        (list(PICTURE[..., 0]), 1),
        ([[0.1, 0.2], [0.3, 0.4]], 1),
        ([None, PICTURE[..., 0]], 2),
        ([], 0),
    ],
)
def test_a_list_of_images_is_distinguished_from_the_rows_of_one(given: Any, count: int) -> None:
    assert len(as_list(given)) == count


def test_labels_can_be_a_tensor_but_not_colours() -> None:
    found = check_labels(torch.ones(9, 12, dtype=torch.int32), "labels", (9, 12), "content")
    assert found.dtype == np.int64
    with pytest.raises(InputError, match=r"labels has shape \(9, 12, 2\)"):
        check_labels(np.ones((9, 12, 2), bool), "labels", (9, 12), "content")
