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


def test_a_paused_run_waits_until_it_is_resumed() -> None:
    control = Control()
    control.wait()
    control.pause()
    assert control.paused
    waiting = threading.Thread(target=control.wait)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    control.resume()
    waiting.join(20)
    assert not waiting.is_alive()
    assert not control.paused


def test_stop_wakes_a_paused_run() -> None:
    control = Control()
    control.pause()
    waiting = threading.Thread(target=control.wait)
    waiting.start()
    control.stop()
    waiting.join(20)
    assert not waiting.is_alive()


def test_wishes_are_taken_once_each_in_order() -> None:
    control = Control()
    assert control.take_wish() is None
    control.steer({"style_weight": 1})
    control.steer({"tv_weight": 2})
    assert control.take_wish() == {"style_weight": 1}
    assert control.take_wish() == {"tv_weight": 2}
    assert control.take_wish() is None
