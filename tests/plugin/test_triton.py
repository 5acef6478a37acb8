"""No code that runs beside a canvas imports triton.

With software OpenGL (virtual machines, remote desktops), a process that loads both Mesa's LLVM and
triton's crashes with a segmentation fault.  torchvision, torch._dynamo, torch.compile and the
optimizers of torch.optim import triton.  tests/conftest.py imports it before there is a canvas,
which is harmless, so this test runs in a separate process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from pathlib import Path

FORBIDDEN = ("triton", "torchvision", "torch._dynamo", "torch._inductor")


class ImportGuard:
    """Import hook that records and refuses each import of a compiler."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def find_spec(self, name: str, *_: object) -> None:
        # torch looks for triton without importing it.
        lookup = any(frame.name == "find_spec" for frame in traceback.extract_stack()[:-1])
        if name in FORBIDDEN and not lookup:
            self.found.append("".join([f"{name} is imported by\n", *traceback.format_stack()]))
            raise ImportError(f"{name} must not be imported beside a canvas")


def operate_the_panel(folder: str) -> None:
    """Operate the panel in this process; print "clean", or the imports of compilers."""
    guard = ImportGuard()
    sys.meta_path.insert(0, guard)  # type: ignore[arg-type]
    import every_control

    every_control.main(Path(folder))
    print(*guard.found, sep="\n")
    imported = [name for name in FORBIDDEN if name in sys.modules]
    print("clean" if not (guard.found or imported) else f"imported: {imported}")


def test_no_control_or_run_of_the_panel_imports_triton(tmp_path: Path) -> None:
    here = str(Path(__file__).parent)
    environment = os.environ | {
        "NAPARI_CONFIG": str(tmp_path / "napari.yaml"),
        "TORCH_HOME": str(tmp_path / "hub"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))),
    }
    code = f"import test_triton; test_triton.operate_the_panel({str(tmp_path)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=250
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "clean", done.stdout
