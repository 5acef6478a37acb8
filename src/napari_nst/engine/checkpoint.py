"""A run in one file: safetensors with a description in JSON; no code in it is ever run."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from napari_nst.engine.course import Course
from napari_nst.engine.inputs import Inputs
from napari_nst.engine.labels import Labels
from napari_nst.engine.objective import Losses
from napari_nst.engine.optimizers import State
from napari_nst.engine.pictures import Picture
from napari_nst.errors import InputError
from napari_nst.record import InputRecord, RegionRecord, SteeringRecord
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

__all__ = ["Saved", "load", "save"]

_FORMAT = 1
_NAME = "napari-nst run"


@dataclass(frozen=True)
class Saved:
    """What a file holds.

    Attributes
    ----------
    settings : StyleTransferSettings
        As asked for.
    first_inputs, inputs : Inputs
        What the run began with, and what it has now.
    course : Course
        How far it is.
    tiles : sequence of int or None
        The side of the tiles at each scale.
    """

    settings: StyleTransferSettings
    first_inputs: Inputs
    inputs: Inputs
    course: Course
    tiles: Sequence[int | None]


def save(path: str | os.PathLike[str], saved: Saved) -> None:
    """Write a run to a file; one of that name stays whole until the new one is.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    course = saved.course
    tensors: dict[str, Tensor] = {}
    about: dict[str, Any] = {
        "name": _NAME,
        "format": _FORMAT,
        "settings": saved.settings.model_dump(mode="json"),
        "now": course.now.model_dump(mode="json"),
        "scale": course.scale,
        "done": course.done,
        "elapsed": course.elapsed,
        "steering": [change.model_dump(mode="json") for change in course.steering],
        "regions": [region.model_dump(mode="json") for region in course.regions],
        "tiles": list(saved.tiles),
        "first": _put_inputs("first", saved.first_inputs, tensors),
    }
    same = saved.inputs is saved.first_inputs
    about["inputs"] = None if same else _put_inputs("now", saved.inputs, tensors)
    if course.image is not None and course.optimizer is not None:
        state = course.optimizer.state()
        about["optimizer"] = dict(state.numbers)
        tensors["image"] = course.image
        tensors |= {f"optimizer.{name}": tensor for name, tensor in state.tensors.items()}
    if course.history:
        tensors["history"] = torch.stack([losses.values.cpu() for losses in course.history])
    _write(Path(path), tensors, about)


def load(path: str | os.PathLike[str]) -> Saved:
    """Read a run that `save` wrote.

    Raises
    ------
    InputError
        If the file cannot be read, or is not such a file.
    """
    tensors, about = _read(Path(path))
    try:
        settings = StyleTransferSettings(**about["settings"])
        course = Course(
            now=StyleTransferSettings(**about["now"]),
            scale=about["scale"],
            done=about["done"],
            steering=[SteeringRecord.model_validate(change) for change in about["steering"]],
            regions=tuple(RegionRecord.model_validate(region) for region in about["regions"]),
            elapsed=about["elapsed"],
        )
        first = _take_inputs("first", about["first"], tensors, settings)
        inputs = first
        if about["inputs"] is not None:
            inputs = _take_inputs("now", about["inputs"], tensors, course.now)
        if "optimizer" in about:
            course.image = tensors["image"]
            course.optimizer = course.make_optimizer(iterations=1)
            course.optimizer.restore(State(_under("optimizer.", tensors), about["optimizer"]))
        if "history" in tensors:
            weights = _settings_in_force(settings, course.steering)
            course.history = [
                Losses(values, now)
                for values, now in zip(tensors["history"], weights, strict=False)
            ]
        return Saved(settings, first, inputs, course, about["tiles"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"{path} is damaged, or of another version: {error}.") from None


def _settings_in_force(
    settings: StyleTransferSettings, steering: Sequence[SteeringRecord]
) -> Iterator[StyleTransferSettings]:
    """Yield the settings of the first evaluation, of the second, and so on."""
    waiting = list(steering)
    done = 0
    while True:
        while waiting and waiting[0].iteration == done:
            settings = settings.replace(**waiting.pop(0).choices)
        yield settings
        done += 1


def _put_inputs(prefix: str, inputs: Inputs, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Add the tensors of inputs to a file's, and return what JSON says of them."""
    pictures = {"content": inputs.content, "start": inputs.start}
    pictures |= {f"styles.{index}": style for index, style in enumerate(inputs.styles)}
    labels = {"content_labels": inputs.content_labels}
    labels |= {f"style_labels.{index}": own for index, own in enumerate(inputs.style_labels or ())}
    records = {}
    for name, picture in pictures.items():
        if picture is not None:
            records[name] = picture.record.model_dump(mode="json")
            parts = {"pixels": picture.pixels, "alpha": picture.alpha}
            if picture.missing is not None:
                parts["missing"] = torch.from_numpy(picture.missing)
            tensors |= {f"{prefix}.{name}.{k}": v for k, v in parts.items() if v is not None}
    for name, own in labels.items():
        if own is not None:
            records[name] = own.record.model_dump(mode="json")
            tensors[f"{prefix}.{name}.values"] = torch.from_numpy(own.values)
    labelled = None if inputs.style_labels is None else len(inputs.style_labels)
    return {"records": records, "styles": len(inputs.styles), "style_labels": labelled}


def _take_inputs(
    prefix: str,
    about: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    settings: StyleTransferSettings,
) -> Inputs:
    def picture(name: str) -> Picture | None:
        if name not in about["records"]:
            return None
        parts = _under(f"{prefix}.{name}.", tensors)
        missing = parts.get("missing")
        return Picture(
            parts["pixels"],
            parts.get("alpha"),
            None if missing is None else missing.numpy(),
            InputRecord.model_validate(about["records"][name]),
        )

    def labels(name: str) -> Labels | None:
        if name not in about["records"]:
            return None
        values = tensors[f"{prefix}.{name}.values"].numpy()
        return Labels(values, InputRecord.model_validate(about["records"][name]))

    content = picture("content")
    styles = tuple(picture(f"styles.{index}") for index in range(about["styles"]))
    if content is None or None in styles:
        raise KeyError("an image is missing")
    labelled = about["style_labels"]
    return Inputs.restored(
        content,
        picture("start"),
        tuple(style for style in styles if style is not None),
        labels("content_labels"),
        None if labelled is None else tuple(labels(f"style_labels.{n}") for n in range(labelled)),
        settings,
    )


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _write(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    # Copies: safetensors refuses views, and tensors that share their memory.
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    try:
        save_file(whole, part, metadata={"about": json.dumps(about)})
        part.replace(path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be written ({reason}); name another file.") from None
    finally:
        with suppress(OSError):
            part.unlink()


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("about", "{}"))
            if about.get("name") == _NAME and about.get("format") == _FORMAT:
                return {name: file.get_tensor(name) for name in file.keys()}, about
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path} cannot be read ({reason}): name a run that was saved.") from None
    except (SafetensorError, ValueError):
        pass
    raise InputError(f"{path} is not a run that was saved, or one of another version.")
