"""Stop, pause and steer from other threads."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from napari_nst.engine.run.control import Control, Stopped
from napari_nst.engine.run.updates import SettingsUpdate
from napari_nst.errors import InputError


def test_any_thread_can_stop_a_run() -> None:
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


@pytest.mark.parametrize("method", ["stop", "stop_if"])
def test_a_paused_run_can_be_stopped(method: str) -> None:
    control, condition, stopped = Control(), threading.Event(), threading.Event()
    control.stop_if(condition.is_set)
    control.wait_if_paused()
    control.pause()

    def wait() -> None:
        with pytest.raises(Stopped):
            control.wait_if_paused()
        stopped.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not stopped.wait(0.2)
    if method == "stop":
        control.stop()
    else:
        condition.set()
    waiting.join(20)
    assert stopped.is_set()
    assert control.paused_seconds >= 0.2


def test_updates_are_applied_once_each_in_order() -> None:
    control, applied = Control(), list[SettingsUpdate]()
    control.apply_updates(applied.append)
    assert applied == []
    updates = [SettingsUpdate({"style_weight": 2.0}), SettingsUpdate({"tv_weight": 0.0})]
    for update in updates:
        control.steer(update)
    assert control.pending == tuple(updates)
    control.apply_updates(applied.append)
    control.apply_updates(applied.append)
    assert applied == updates
    assert control.pending == ()


def test_an_update_that_is_refused_is_a_warning_and_the_next_is_applied() -> None:
    control, applied, reported = Control(), list[Any](), list[Any]()
    control.on_applied = reported.append

    def apply(update: SettingsUpdate) -> None:
        if "tv_weight" in update.choices:
            raise InputError("Too smooth.")
        applied.append(update)

    bad, good = SettingsUpdate({"tv_weight": 9.0}), SettingsUpdate({"style_weight": 2.0})
    control.steer(bad)
    control.steer(good)
    control.apply_updates(apply)
    assert applied == reported == [good]
    assert control.take_warnings() == ("Too smooth.",)
    assert control.take_warnings() == ()


def test_updates_can_be_changed_for_the_current_plane() -> None:
    control, applied, reported = Control(), list[SettingsUpdate](), list[SettingsUpdate]()
    control.at_plane = lambda update: replace(update, content_labels=update.content_labels[1])
    control.on_applied = reported.append
    control.steer(SettingsUpdate(content_labels=lambda: ["first", "second"]))
    control.apply_updates(applied.append)
    assert [update.content_labels for update in applied] == ["second"]
    assert [update.content_labels for update in reported] == [["first", "second"]]
