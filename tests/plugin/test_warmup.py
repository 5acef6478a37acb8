"""The engine is imported ahead of its first use, in whatever way the machine allows."""

from __future__ import annotations

import subprocess
import sys

import pytest

USE = "import torch; assert float(torch.ones(3) @ torch.ones(3)) == 3; print(device)"


@pytest.mark.parametrize(
    "before",
    [
        "",
        "import torch",
        # Where torch's libraries lie elsewhere, the import does without the head start.
        "from napari_nst.plugin import warmup; warmup._LIBRARIES = ('no_such_library.so',)",
    ],
)
def test_the_engine_is_there_afterwards_and_works(before: str) -> None:
    code = f"{before}\nfrom napari_nst.plugin.warmup import import_engine\n"
    code += (
        f"device = import_engine()\nimport sys; sys.modules['napari_nst.engine.transfer']\n{USE}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() in ("cpu", "cuda", "mps")
