from __future__ import annotations

import threading

import pytest

from napari_nst.engine.run.control import Control, Stopped


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
    control.wait_if_paused()
    control.pause()
    assert control.paused
    waiting = threading.Thread(target=control.wait_if_paused)
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
    ended = threading.Event()

    def wait() -> None:
        with pytest.raises(Stopped):
            control.wait_if_paused()
        ended.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    control.stop()
    waiting.join(20)
    assert ended.is_set()


def test_a_paused_run_ends_when_nobody_waits_for_it() -> None:
    control = Control()
    gone = threading.Event()
    control.stop_if(gone.is_set)
    control.wait_if_paused()
    control.pause()
    ended = threading.Event()

    def wait() -> None:
        with pytest.raises(Stopped):
            control.wait_if_paused()
        ended.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not ended.wait(0.2)
    gone.set()
    waiting.join(20)
    assert ended.is_set()
    assert control.paused_seconds >= 0.2


def test_wishes_are_taken_once_each_in_order() -> None:
    control: Control[str] = Control()
    assert control.pop_update() is None
    control.steer("more style")
    control.steer("less noise")
    assert control.pop_update() == "more style"
    assert control.pop_update() == "less noise"
    assert control.pop_update() is None
