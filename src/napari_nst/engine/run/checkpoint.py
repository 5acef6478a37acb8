"""A run in one file: safetensors with a description in JSON; no code in it is ever run."""

from __future__ import annotations

import hashlib
import json
import operator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from napari_nst.atomic import atomic_write
from napari_nst.engine.images.inputs import Inputs
from napari_nst.engine.images.labels import Labels
from napari_nst.engine.images.pictures import Picture
from napari_nst.engine.losses.objective import Losses
from napari_nst.engine.optim.adam import OptimizerState
from napari_nst.engine.optim.schedule import Scale, settings_at_scale
from napari_nst.engine.run.loop import Wish
from napari_nst.engine.run.state import RunState
from napari_nst.errors import InputError
from napari_nst.record import InputRecord, OutOfMemoryEvent, RegionRecord, SteeringRecord
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

__all__ = ["Checkpoint", "load", "save"]

_FORMAT = 2
_NAME = "napari-nst run"


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes
    ----------
    settings : StyleTransferSettings
        As asked for.
    first_inputs, inputs : Inputs
        What the run began with, and what it has now.
    state : RunState
        How far it is.
    scales : sequence of Scale
        The sizes it goes through: another device would choose others.
    tiles : sequence of int or None
        The side of the tiles at each scale.
    wishes : sequence of Wish
        The steering that waits for the next evaluation.
    """

    settings: StyleTransferSettings
    first_inputs: Inputs
    inputs: Inputs
    state: RunState
    scales: Sequence[Scale]
    tiles: Sequence[int | None]
    wishes: Sequence[Wish]


def save(path: str | os.PathLike[str], saved: Checkpoint) -> None:
    """Write a run to a file; one of that name stays whole until the new one is.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    state = saved.state
    tensors: dict[str, Tensor] = {}
    places: dict[int, str] = {}  # where an image lies, which many inputs may share
    about: dict[str, Any] = {
        "name": _NAME,
        "format": _FORMAT,
        "settings": saved.settings.model_dump(mode="json"),
        "now": state.settings.model_dump(mode="json"),
        "scale": state.scale,
        "done": state.done,
        "elapsed": state.elapsed,
        "lbfgs_history": state.lbfgs_history,
        "steering": [change.model_dump(mode="json") for change in state.steering],
        "out_of_memory_events": [
            event.model_dump(mode="json") for event in state.out_of_memory_events
        ],
        "regions": [region.model_dump(mode="json") for region in state.regions],
        "status": state.status,
        "scales": [vars(scale) for scale in saved.scales],
        "tiles": list(saved.tiles),
        "first": _put_inputs(saved.first_inputs, tensors, places),
        "inputs": _put_inputs(saved.inputs, tensors, places),
        "wishes": [
            (wish.record.model_dump(mode="json"), _put_inputs(wish.inputs, tensors, places))
            for wish in saved.wishes
        ],
    }
    if state.image is not None and state.optimizer is not None:
        optimizer_state = state.optimizer.state_dict()
        about["optimizer"] = dict(optimizer_state.numbers)
        tensors["image"] = state.image
        tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer_state.tensors.items()}
    if state.history:
        tensors["history"] = torch.stack([losses.values.cpu() for losses in state.history])
    _write(Path(path), tensors, about)


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a run that `save` wrote.

    Raises
    ------
    InputError
        If the file cannot be read, or is not such a file.
    """
    tensors, about = _read(Path(path))
    try:
        if about["sha256"] != _digest(tensors):
            raise ValueError("the tensors are not those that were written")
        settings = StyleTransferSettings(**about["settings"])
        scales = [Scale(**scale) for scale in about["scales"]]
        state = RunState(
            settings=StyleTransferSettings(**about["now"]),
            scale=operator.index(about["scale"]),
            done=operator.index(about["done"]),
            steering=[SteeringRecord.model_validate(change) for change in about["steering"]],
            out_of_memory_events=[
                OutOfMemoryEvent.model_validate(one) for one in about["out_of_memory_events"]
            ],
            regions=tuple(RegionRecord.model_validate(region) for region in about["regions"]),
            elapsed=float(about["elapsed"]),
            history_size=_count(about["lbfgs_history"]),
            status="finished" if about["status"] == "finished" else "running",
        )
        first = _take_inputs(about["first"], tensors, settings)
        inputs = _take_inputs(about["inputs"], tensors, state.settings)
        if "optimizer" in about:
            state.image = tensors["image"]
            state.optimizer = state.make_optimizer(iterations=1)
            state.optimizer.load_state_dict(
                OptimizerState(_under("optimizer.", tensors), about["optimizer"])
            )
        if "history" in tensors:
            before_last = sum(scale.iterations for scale in scales[:-1])
            weights = _settings_in_force(settings, state.steering, before_last)
            state.history = [
                Losses(values, now)
                for values, now in zip(tensors["history"], weights, strict=False)
            ]
        wishes, now = [], state.settings
        for change, wished in about["wishes"]:
            record = SteeringRecord.model_validate(change)
            now = now.replace(**record.choices)
            wishes.append(Wish(record, _take_inputs(wished, tensors, now)))
        tiles = [_count(side) for side in about["tiles"]]
        if not (0 <= state.scale <= len(scales) == len(tiles)):
            raise ValueError("the scales do not go together")
        return Checkpoint(settings, first, inputs, state, scales, tiles, wishes)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"{path} is damaged, or was saved by another version.") from error


def _count(value: Any) -> int | None:
    return None if value is None else operator.index(value)


def _settings_in_force(
    settings: StyleTransferSettings, steering: Sequence[SteeringRecord], before_last: int
) -> Iterator[StyleTransferSettings]:
    """Yield the settings of the first evaluation, of the second, and so on.

    `before_last` evaluations come before the last scale.
    """
    waiting = list(steering)
    done = 0
    while True:
        while waiting and waiting[0].iteration == done:
            settings = settings.replace(**waiting.pop(0).choices)
        yield settings_at_scale(settings, last=done >= before_last)
        done += 1


def _put_inputs(
    inputs: Inputs, tensors: dict[str, Tensor], places: dict[int, str]
) -> dict[str, Any]:
    """Add the tensors of inputs to a file's, each once, and return what JSON says of them."""
    pictures = {"content": inputs.content, "init_image": inputs.init_image}
    pictures |= {f"styles.{index}": style for index, style in enumerate(inputs.styles)}
    labels = {"content_labels": inputs.content_labels}
    labels |= {f"style_labels.{index}": own for index, own in enumerate(inputs.style_labels or ())}
    found = {}
    for name, one in (*pictures.items(), *labels.items()):
        if one is None:
            continue
        place = places.setdefault(id(one), f"inputs.{len(places)}")
        found[name] = {"place": place, "record": one.record.model_dump(mode="json")}
        if isinstance(one, Labels):
            tensors[f"{place}.values"] = torch.from_numpy(one.values)
            continue
        parts = {"pixels": one.pixels, "alpha": one.alpha}
        if one.missing is not None:
            parts["missing"] = torch.from_numpy(one.missing)
        tensors |= {f"{place}.{part}": v for part, v in parts.items() if v is not None}
    labelled = None if inputs.style_labels is None else len(inputs.style_labels)
    return {"images": found, "styles": len(inputs.styles), "style_labels": labelled}


def _take_inputs(
    about: Mapping[str, Any], tensors: Mapping[str, Tensor], settings: StyleTransferSettings
) -> Inputs:
    def stored(name: str) -> tuple[dict[str, Tensor], InputRecord] | None:
        if name not in about["images"]:
            return None
        one = about["images"][name]
        parts = _under(f"{one['place']}.", tensors)
        return parts, InputRecord.model_validate(one["record"])

    def picture(name: str) -> Picture | None:
        if (found := stored(name)) is None:
            return None
        parts, record = found
        missing = parts.get("missing")
        return Picture(
            parts["pixels"],
            parts.get("alpha"),
            None if missing is None else missing.numpy(),
            record,
        )

    def labels(name: str) -> Labels | None:
        if (found := stored(name)) is None:
            return None
        parts, record = found
        return Labels(parts["values"].numpy(), record)

    content = picture("content")
    styles = tuple(picture(f"styles.{index}") for index in range(about["styles"]))
    if content is None or None in styles:
        raise KeyError("an image is missing")
    labelled = about["style_labels"]
    return Inputs.from_pictures(
        content,
        picture("init_image"),
        tuple(style for style in styles if style is not None),
        labels("content_labels"),
        None if labelled is None else tuple(labels(f"style_labels.{n}") for n in range(labelled)),
        settings,
    )


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of tensors, in the order of their names: of each its name and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _write(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {path.parent}.")
    # Copies: safetensors refuses views, and tensors that share their memory.
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    try:
        described = json.dumps({**about, "sha256": _digest(whole)})
        with atomic_write(path) as scratch:
            save_file(whole, scratch, metadata={"about": described})
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be written ({reason}); name another file.") from None


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("about", "{}"))
            known = {"name": _NAME, "format": _FORMAT}
            if isinstance(about, dict) and about.items() >= known.items():
                # Copies: sums over tensors that lie anywhere in a file are rounded otherwise.
                return {name: file.get_tensor(name).clone() for name in file.keys()}, about
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path} cannot be read ({reason}): name a run that was saved.") from None
    except (SafetensorError, ValueError):
        pass
    raise InputError(f"{path} is not a run that was saved, or one of another version.")
