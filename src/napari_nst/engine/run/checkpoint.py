"""Save a run in one safetensors file with a description in JSON; loading it runs no code."""

from __future__ import annotations

import hashlib
import json
import operator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from napari_nst.atomic import atomic_write
from napari_nst.engine.images.inputs import Inputs
from napari_nst.engine.images.labels import Labels
from napari_nst.engine.images.pictures import Picture
from napari_nst.engine.images.reliability import Reliability
from napari_nst.engine.losses.values import Losses
from napari_nst.engine.optim.adam import OptimizerState
from napari_nst.engine.optim.schedule import Scale
from napari_nst.engine.run.state import RunState
from napari_nst.engine.run.updates import SettingsUpdate
from napari_nst.errors import InputError
from napari_nst.networks import ConvolutionMethod
from napari_nst.record import (
    InputRecord,
    OutOfMemoryEvent,
    RegionRecord,
    SteeringRecord,
)
from napari_nst.settings import StyleTransferSettings

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

__all__ = ["Checkpoint", "load", "save"]

_FORMAT = 7
_NAME = "napari-nst run"


@dataclass(frozen=True)
class Checkpoint:
    """Contents of a file.

    Attributes
    ----------
    settings : StyleTransferSettings
        Requested settings.
    first_inputs, inputs : Inputs
        Inputs at the start of the run, and now.
    state : RunState
        Progress of the run.
    scales : sequence of Scale
        Scales of the run; another device would choose others.
    tiles : sequence of int or None
        Tile size at each scale.
    pending : sequence of SettingsUpdate
        Updates that wait for the next evaluation.
    convolutions : {"direct", "nnpack", "winograd"}
        How convolutions are computed.
    """

    settings: StyleTransferSettings
    first_inputs: Inputs
    inputs: Inputs
    state: RunState
    scales: Sequence[Scale]
    tiles: Sequence[int | None]
    pending: Sequence[SettingsUpdate]
    convolutions: ConvolutionMethod


def save(path: str | os.PathLike[str], saved: Checkpoint) -> None:
    """Write a run to a file; an older one is replaced only when the new one is complete.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    state = saved.state
    tensors: dict[str, Tensor] = {}
    prefixes: dict[int, str] = {}  # of tensor names, by id of an image that inputs may share
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
        "convolutions": saved.convolutions,
        "scales": [vars(scale) for scale in saved.scales],
        "tiles": list(saved.tiles),
        "first": _put_inputs(saved.first_inputs, tensors, prefixes),
        "inputs": _put_inputs(saved.inputs, tensors, prefixes),
        "pending": [
            {
                "choices": choices,
                "changed": changed,
                "inputs": _put_inputs(inputs, tensors, prefixes),
            }
            for choices, changed, inputs in _resolve(saved)
        ],
    }
    if state.image is not None and state.optimizer is not None:
        optimizer_state = state.optimizer.state_dict()
        about["optimizer"] = dict(optimizer_state.numbers)
        tensors["image"] = state.image
        tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer_state.tensors.items()}
    factor = state.content_factor
    tensors |= {"content_factor": factor.factor, "content_factor.integral": factor.integral}
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
                OptimizerState(_with_prefix("optimizer.", tensors), about["optimizer"])
            )
        state.content_factor.factor = tensors["content_factor"]
        state.content_factor.integral = tensors["content_factor.integral"]
        if "history" in tensors:
            weights = _settings_in_force(settings, state.steering)
            state.history = [
                Losses(values, now)
                for values, now in zip(tensors["history"], weights, strict=False)
            ]
        pending, now = [], state.settings
        for about_update in about["pending"]:
            choices = SteeringRecord(iteration=0, choices=about_update["choices"]).choices
            now = now.replace(**choices)
            inputs_then = _take_inputs(about_update["inputs"], tensors, now)
            images = {name: getattr(inputs_then, name) for name in about_update["changed"]}
            if "styles" in images:
                images["names"] = [style.record.name for style in inputs_then.styles]
            pending.append(SettingsUpdate(choices, **images))
        tiles = [_count(side) for side in about["tiles"]]
        if not (0 <= state.scale <= len(scales) == len(tiles)):
            raise ValueError("the scales do not go together")
        convolutions = TypeAdapter(ConvolutionMethod).validate_python(about["convolutions"])
        return Checkpoint(settings, first, inputs, state, scales, tiles, pending, convolutions)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"{path} is damaged, or was saved by another version.") from error


def _count(value: Any) -> int | None:
    return None if value is None else operator.index(value)


def _settings_in_force(
    settings: StyleTransferSettings, steering: Sequence[SteeringRecord]
) -> Iterator[StyleTransferSettings]:
    """Yield the settings of each evaluation."""
    waiting = list(steering)
    done = 0
    while True:
        while waiting and waiting[0].iteration == done:
            settings = settings.replace(**waiting.pop(0).choices)
        yield settings
        done += 1


def _resolve(saved: Checkpoint) -> Iterator[tuple[dict[str, Any], list[str], Inputs]]:
    """Yield choices, names of changed images, and the inputs after each pending update."""
    settings, inputs = saved.state.settings, saved.inputs
    for pending in saved.pending:
        update = pending.loaded()
        settings = update.settings(settings)
        inputs = inputs.replaced(settings, **update.images)
        # The record has plain numbers, lists and strings.
        choices = SteeringRecord(iteration=0, choices=dict(update.choices)).model_dump(mode="json")
        yield choices["choices"], [name for name in update.images if name != "names"], inputs


def _put_inputs(
    inputs: Inputs, tensors: dict[str, Tensor], prefixes: dict[int, str]
) -> dict[str, Any]:
    """Add the tensors of inputs to those of a file, and return their description in JSON."""
    pictures = {"content": inputs.content, "init_image": inputs.init_image}
    pictures |= {f"styles.{index}": style for index, style in enumerate(inputs.styles)}
    labels = {"content_labels": inputs.content_labels}
    labels |= {f"style_labels.{index}": own for index, own in enumerate(inputs.style_labels or ())}
    reliability = {"init_reliability": inputs.init_reliability}
    found = {}
    for name, one in (*pictures.items(), *labels.items(), *reliability.items()):
        if one is None:
            continue
        prefix = prefixes.setdefault(id(one), f"inputs.{len(prefixes)}")
        found[name] = {"prefix": prefix, "record": one.record.model_dump(mode="json")}
        if isinstance(one, Labels):
            tensors[f"{prefix}.values"] = torch.from_numpy(one.values)
            continue
        if isinstance(one, Reliability):
            tensors[f"{prefix}.values"] = one.values
            continue
        parts = {"pixels": one.pixels, "alpha": one.alpha}
        if one.missing is not None:
            parts["missing"] = torch.from_numpy(one.missing)
        tensors |= {f"{prefix}.{part}": v for part, v in parts.items() if v is not None}
    count = None if inputs.style_labels is None else len(inputs.style_labels)
    return {"images": found, "styles": len(inputs.styles), "style_labels": count}


def _take_inputs(
    about: Mapping[str, Any], tensors: Mapping[str, Tensor], settings: StyleTransferSettings
) -> Inputs:
    def stored(name: str) -> tuple[dict[str, Tensor], InputRecord] | None:
        if name not in about["images"]:
            return None
        one = about["images"][name]
        parts = _with_prefix(f"{one['prefix']}.", tensors)
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

    def reliability(name: str) -> Reliability | None:
        if (found := stored(name)) is None:
            return None
        parts, record = found
        return Reliability(parts["values"], record)

    content = picture("content")
    styles = tuple(picture(f"styles.{index}") for index in range(about["styles"]))
    if content is None or None in styles:
        raise KeyError("an image is missing")
    count = about["style_labels"]
    return Inputs.from_pictures(
        content,
        picture("init_image"),
        reliability("init_reliability"),
        tuple(style for style in styles if style is not None),
        labels("content_labels"),
        None if count is None else tuple(labels(f"style_labels.{n}") for n in range(count)),
        settings,
    )


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of the names and bytes of tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names have a prefix, by the rest of their names."""
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
                # Copies: sums over tensors with another alignment round differently.
                return {name: file.get_tensor(name).clone() for name in file.keys()}, about
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path} cannot be read ({reason}): name a run that was saved.") from None
    except (SafetensorError, ValueError, RecursionError):  # also deeply nested JSON
        pass
    raise InputError(f"{path} is not a run that was saved, or one of another version.")
