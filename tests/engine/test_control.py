from __future__ import annotations

import threading

from napari_nst.engine.control import Control


def test_a_run_goes_on_until_it_is_stopped_from_any_thread() -> None:
    control = Control()
    assert not control.stopped
    thread = threading.Thread(target=control.stop)
    thread.start()
    thread.join()
    assert control.stopped
    control.stop()
    assert control.stopped
