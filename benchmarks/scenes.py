"""Rendered moving pictures whose true flow and occlusions are known.

A scene is a list of surfaces, from bottom to top.  Each surface has an outline and colours in its
own coordinates, and an affine pose in each plane, so the place of every surface point in every
plane is exact.  Planes are rendered directly from the surfaces: nothing is resampled twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from skimage import data, transform

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["SCENES", "Scene", "warp"]

_SAMPLES = 3  # per pixel and axis
_MARGIN = 3  # pixels around the plane, for the blur
_BLUR = 0.5  # pixels: standard deviation of lens and sensor
_SAME_SHIFT = 0.1  # pixels: surfaces whose movements differ by less have no edge between them
_GRAIN = 4  # size of the grains of noise, in its own pixels
_UNIT = 1 / 128  # speeds are in pixels of a plane of 128 x 128; larger planes show the same scene


@dataclass(frozen=True)
class Scene:
    """Moving pictures with their true flow.

    Attributes
    ----------
    name : str
        Name, a key of `SCENES`.
    contents : list of ndarray
        Planes, (H, W, 3) or (H, W), float32 in [0, 1].
    flows : list of ndarray
        For each pair of planes k and k + 1, (H, W, 2): displacement from a pixel of plane k + 1
        to the place of the same surface point in plane k, in pixels, row first.
    occluded : list of ndarray
        For each pair, (H, W): pixels of plane k + 1 that are hidden or outside in plane k, or near
        the edge of a surface in one of the two.
    far_flow, far_occluded : ndarray
        The same for the first and the last plane.
    """

    name: str
    contents: list[NDArray[np.float32]]
    flows: list[NDArray[np.float32]]
    occluded: list[NDArray[np.bool_]]
    far_flow: NDArray[np.float32]
    far_occluded: NDArray[np.bool_]


def warp(image: Array, flow: Array) -> Array:
    """Return an image sampled along a flow, with cubic splines."""
    places = np.moveaxis(flow, -1, 0) + np.indices(image.shape[:2])
    sample = partial(ndimage.map_coordinates, coordinates=places, order=3, mode="mirror")
    if image.ndim == 2:
        return np.asarray(sample(image))
    return np.stack([sample(channel) for channel in np.moveaxis(image, -1, 0)], axis=-1)


@dataclass(frozen=True)
class Pose:
    """Affine map from a surface's coordinates to the plane's, whose side is 1."""

    matrix: Array
    shift: Array

    def to_plane(self, points: Array) -> Array:
        """Return the places of surface points, (N, 2)."""
        return points @ self.matrix.T + self.shift

    def to_surface(self, points: Array) -> Array:
        """Return the surface points at places of the plane, (N, 2)."""
        return (points - self.shift) @ np.linalg.inv(self.matrix).T


def pose(shift: Sequence[float] | Array, scale: float | Array = 1.0, degrees: float = 0.0) -> Pose:
    """Return the pose of a surface that is scaled, turned, and moved to a place."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return Pose(np.array([[cos, -sin], [sin, cos]]) * scale, np.asarray(shift, float))


@dataclass(frozen=True)
class Surface:
    """A surface in its own coordinates.

    Attributes
    ----------
    pose : callable
        Pose in plane k.
    color : callable
        Colours of surface points: (N, 2) to (N, channels).
    inside : callable or None
        Whether the surface exists at surface points in plane k; None: everywhere.
    radius : float
        Distance from 0 beyond which the surface does not exist.
    """

    pose: Callable[[int], Pose]
    color: Callable[[Array], Array]
    inside: Callable[[int, Array], Array] | None = None
    radius: float = np.inf

    def near(self, k: int, points: Array) -> Array:
        """Return whether places of plane k are in a box around the surface."""
        place = self.pose(k)
        reach = self.radius * np.linalg.norm(place.matrix, axis=1)
        return np.asarray((np.abs(points - place.shift) < reach).all(axis=1))


def grid(size: int, samples: int, margin: int = 0) -> Array:
    """Return the places of the samples of a plane, (N, 2), row by row."""
    line = (np.arange((size + 2 * margin) * samples) + 0.5) / (size * samples) - margin / size
    return np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)


def topmost(surfaces: Sequence[Surface], k: int, points: Array) -> Array:
    """Return the index of the surface that is seen at each place of plane k."""
    seen = np.zeros(len(points), np.int16)
    for index, surface in enumerate(surfaces):
        if surface.inside is not None:
            near = np.flatnonzero(surface.near(k, points))
            on_surface = surface.pose(k).to_surface(points[near])
            seen[near[surface.inside(k, on_surface)]] = index
    return seen


def render(surfaces: Sequence[Surface], k: int, points: Array, seen: Array) -> Array:
    """Return the colours at places of plane k, where surfaces of these indices are seen."""
    colors = {
        index: surfaces[index].color(surfaces[index].pose(k).to_surface(points[seen == index]))
        for index in np.unique(seen)
    }
    image = np.empty((len(points), next(iter(colors.values())).shape[1]))
    for index, values in colors.items():
        image[seen == index] = values
    return image


def photographed(fine: Array, size: int) -> NDArray[np.float32]:
    """Return the plane that a camera sees: blurred, and sampled in the middle of each pixel."""
    side = (size + 2 * _MARGIN) * _SAMPLES
    blur = (_BLUR * _SAMPLES, _BLUR * _SAMPLES, 0)
    blurred = ndimage.gaussian_filter(fine.reshape(side, side, -1), blur)
    middles = slice(_MARGIN * _SAMPLES + _SAMPLES // 2, side - _MARGIN * _SAMPLES, _SAMPLES)
    plane: NDArray[np.float32] = np.clip(blurred[middles, middles], 0, 1).astype(np.float32)
    return plane if plane.shape[2] == 3 else plane[..., 0]


def move(surfaces: Sequence[Surface], points: Array, seen: Array, k: int, to: int) -> Array:
    """Return where surface points at places of plane k are in another plane."""
    places = np.empty_like(points)
    for index in np.unique(seen):
        on_surface = surfaces[index].pose(k).to_surface(points[seen == index])
        places[seen == index] = surfaces[index].pose(to).to_plane(on_surface)
    return places


def edges(shifts: Array, size: int) -> Array:
    """Return the pixels in which surfaces are seen that move differently.

    Parameters
    ----------
    shifts : ndarray
        Shifts of the samples of the plane and its margin.
    size : int
        Side of the plane, in pixels.
    """
    side = size + 2 * _MARGIN
    shifts = size * shifts.reshape(side, _SAMPLES, side, _SAMPLES, 2)
    differ = (np.ptp(shifts, axis=(1, 3)) > _SAME_SHIFT).any(axis=-1)
    return np.asarray(differ[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN])


def true_flow(
    surfaces: Sequence[Surface], seen: Sequence[Array], k: int, to: int, size: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the flow of plane k to another plane, and its occluded pixels.

    Parameters
    ----------
    surfaces : sequence of Surface
        The surfaces.
    seen : sequence of ndarray
        For each plane, indices of the surfaces seen at the samples of the plane and its margin.
    k, to : int
        The planes.
    size : int
        Side of the planes, in pixels.
    """
    middles, fine = grid(size, 1), grid(size, _SAMPLES, _MARGIN)
    on_top = topmost(surfaces, k, middles)
    places = move(surfaces, middles, on_top, k, to)
    # Rounded, so that what is still has a flow of 0.
    flow = np.round((places - middles) * size, 9).reshape(size, size, 2)
    pixels = np.moveaxis(np.indices((size, size)), 0, -1) + flow
    occluded = (topmost(surfaces, to, places) != on_top).reshape(size, size)
    occluded |= ((pixels < 0) | (pixels > size - 1)).any(axis=-1)
    # A pixel next to an edge, and a cubic sample less than two pixels away, mix two surfaces.
    here = edges(move(surfaces, fine, seen[k], k, to) - fine, size)
    there = edges(move(surfaces, fine, seen[to], to, k) - fine, size)
    occluded |= ndimage.binary_dilation(here, np.ones((3, 3)))
    nearest = np.clip(np.rint(pixels).astype(int), 0, size - 1)
    near_there = ndimage.binary_dilation(there, np.ones((5, 5)))
    occluded |= near_there[nearest[..., 0], nearest[..., 1]]
    return flow.astype(np.float32), occluded


def scene(name: str, surfaces: Sequence[Surface], size: int, planes: int) -> Scene:
    """Return the scene of surfaces, the lowest of which is everywhere."""
    fine = grid(size, _SAMPLES, _MARGIN)
    seen = [topmost(surfaces, k, fine) for k in range(planes)]
    contents = [photographed(render(surfaces, k, fine, seen[k]), size) for k in range(planes)]
    pairs = [true_flow(surfaces, seen, k + 1, k, size) for k in range(planes - 1)]
    far = true_flow(surfaces, seen, planes - 1, 0, size)
    return Scene(name, contents, [flow for flow, _ in pairs], [hidden for _, hidden in pairs], *far)


class Picture:
    """A picture as colours of a surface; its height is 1, and outside it is mirrored.

    Parameters
    ----------
    image : ndarray
        uint8, (H, W) or (H, W, C).
    height : float
        Samples that will be taken along its height; a larger picture is reduced first.
    """

    def __init__(self, image: Array, height: float) -> None:
        values = np.asarray(image / 255, float).reshape(*image.shape[:2], -1)
        share = height / len(values)
        if share < 1:
            values = transform.rescale(values, share, anti_aliasing=True, channel_axis=-1)
        self._height = len(values)
        self._channels = [
            ndimage.spline_filter(channel, mode="mirror") for channel in np.moveaxis(values, -1, 0)
        ]

    def __call__(self, points: Array) -> Array:
        """Return the colours at surface points."""
        places = points.T * self._height - 0.5
        return np.stack(
            [
                ndimage.map_coordinates(channel, places, order=3, prefilter=False, mode="mirror")
                for channel in self._channels
            ],
            axis=-1,
        )


def photograph(image: Array, size: int, view: float, camera: Callable[[int], Pose]) -> Surface:
    """Return a photograph under a camera.

    Parameters
    ----------
    image : ndarray
        The photograph.
    size : int
        Side of the planes, in pixels.
    view : float
        Side of the view of the camera at scale 1, relative to the height of the photograph.
    camera : callable
        Pose of the view in the photograph for each plane.
    """

    def in_plane(k: int) -> Pose:
        view_pose = camera(k)
        matrix = np.linalg.inv(view_pose.matrix) / view
        # The middle of the plane shows the place of the camera.
        return Pose(matrix, 0.5 - matrix @ view_pose.shift)

    return Surface(in_plane, Picture(image, size * _SAMPLES / view))


def pan(size: int, planes: int) -> Scene:
    """Return a portrait under a camera that moves by 1.43 pixels right and 0.37 down a plane."""
    view = 0.6

    def camera(k: int) -> Pose:
        return pose((0.33 + 0.37 * k * _UNIT * view, 0.4 + 1.43 * k * _UNIT * view))

    return scene("pan", [photograph(data.astronaut(), size, view, camera)], size, planes)


def turn(size: int, planes: int) -> Scene:
    """Return a cat under a camera that turns by 0.9 degrees and comes nearer by 1.2 % a plane."""

    def camera(k: int) -> Pose:
        return pose((0.45, 0.78), scale=1.012**-k, degrees=0.9 * k)

    return scene("turn", [photograph(data.chelsea(), size, 0.75, camera)], size, planes)


def shake(size: int, planes: int) -> Scene:
    """Return a cup under a camera in the hand: shifts by about a pixel, and turns."""
    shakes = np.random.default_rng(1).normal(size=(planes, 3))

    def camera(k: int) -> Pose:
        place = np.array([0.45, 0.72]) + 0.8 * _UNIT * shakes[k, :2]
        return pose(place, degrees=0.4 * shakes[k, 2])

    return scene("shake", [photograph(data.coffee(), size, 0.8, camera)], size, planes)


def still(size: int, planes: int) -> Scene:
    """Return a cat that does not move, with noise of 2 grey levels of 255."""
    photo = photograph(data.chelsea(), size, 0.9, lambda _: pose((0.5, 0.75)))
    clean, rng = scene("still", [photo], size, planes), np.random.default_rng(2)
    noisy = [plane + rng.normal(0, 2 / 255, plane.shape) for plane in clean.contents]
    return replace(clean, contents=[np.clip(plane, 0, 1).astype(np.float32) for plane in noisy])


def objects(size: int, planes: int) -> Scene:
    """Return a cup that moves slowly over still gravel, and a fast ball that rolls over it."""
    gravel, cup, ball = data.gravel(), data.coffee(), data.retina()[..., ::-1]  # blue
    gravel = gravel[..., None] * np.array([1.0, 0.93, 0.82])
    cup_scale, ball_scale = 0.58, 0.27  # side of the pictures in the plane

    def cup_pose(k: int) -> Pose:
        return pose((0.5 - 0.35 * k * _UNIT, 0.56 + 0.83 * k * _UNIT), cup_scale, 5 - 0.5 * k)

    def ball_pose(k: int) -> Pose:
        return pose((0.62 - 0.4 * k * _UNIT, 0.14 + 3.3 * k * _UNIT), ball_scale, 3 * k)

    # Both pictures have their middle at 0; the ellipses are those of the saucer, the rim of the
    # cup and the eye in them.
    def in_cup(_: int, points: Array) -> Array:
        saucer = ((points - (0.02, -0.05)) / (0.385, 0.495)) ** 2
        rim = ((points - (-0.218, -0.024)) / (0.235, 0.293)) ** 2
        return np.asarray((saucer.sum(axis=1) < 1) | (rim.sum(axis=1) < 1))

    def in_ball(_: int, points: Array) -> Array:
        return np.asarray((points**2).sum(axis=1) < 0.45**2)

    def centred(image: Array, scale: float) -> Callable[[Array], Array]:
        picture = Picture(image, size * _SAMPLES * scale)
        middle = np.array([0.5, image.shape[1] / image.shape[0] / 2])
        return lambda points: picture(points + middle)

    eye = centred(ball, ball_scale)

    def ball_color(points: Array) -> Array:
        shade = 0.35 + 0.65 * np.sqrt(1 - (points**2).sum(axis=1, keepdims=True) / 0.45**2)
        return np.asarray(eye(points) * shade)

    surfaces = [
        Surface(lambda _: pose((0, 0), 1.25), Picture(gravel, size * _SAMPLES * 1.25)),
        Surface(cup_pose, centred(cup, cup_scale), in_cup, 0.6),
        Surface(ball_pose, ball_color, in_ball, 0.45),
    ]
    return scene("objects", surfaces, size, planes)


def noise(rng: np.random.Generator, grain: float) -> Callable[[Array], Array]:
    """Return noise of mean 0 and standard deviation 1 as values of a surface.

    Parameters
    ----------
    rng : Generator
        Source of the noise.
    grain : float
        Size of the coarse grains, in units of the surface.  There are grains of a third of it,
        too, with half of the contrast.
    """
    octaves = [(smooth_noise(rng), 1 / grain, 0.8**0.5), (smooth_noise(rng), 3 / grain, 0.2**0.5)]

    def color(points: Array) -> Array:
        parts = [
            weight
            * ndimage.map_coordinates(
                values, points.T * scale * _GRAIN, order=3, prefilter=False, mode="grid-wrap"
            )
            for values, scale, weight in octaves
        ]
        return np.asarray(sum(parts))

    return color


def smooth_noise(rng: np.random.Generator) -> Array:
    """Return spline coefficients of periodic noise, (256, 256)."""
    values = ndimage.gaussian_filter(rng.normal(size=(256, 256)), _GRAIN / 2, mode="wrap")
    return np.asarray(ndimage.spline_filter(values / values.std(), mode="grid-wrap"))


@dataclass(frozen=True)
class Cell:
    """A cell with a nucleus; its own coordinates have the middle at 0 and a radius of about 1.

    A cell that divides is two cells of the same outline, each seen on its side of the plane
    halfway between them, as long as they overlap.

    Attributes
    ----------
    place, velocity : ndarray
        Middle in plane 0, and its movement per plane; the side of a plane is 1.
    radius, growth : float
        Radius in plane 0, and its growth per plane.
    degrees, spin : float
        Direction of the first axis in plane 0, and its turn per plane.
    stretch : float
        Length of the first axis relative to the second.
    lobes : ndarray
        Amplitudes and phases of the waves of the outline, (waves, 2).
    half : int
        1 or -1 for the two halves of a cell that divides, 0 for others.
    divides_at : float
        Plane in which the halves begin to move apart.
    """

    place: Array
    velocity: Array
    radius: float
    growth: float
    degrees: float
    spin: float
    stretch: float
    lobes: Array
    half: int = 0
    divides_at: float = 0.0

    def offset(self, k: int) -> float:
        """Return the distance of a half from the middle of both along the first axis, in radii."""
        done = np.clip((k - self.divides_at) / _DIVISION, 0, 1)
        return float(self.half * 1.15 * done**2 * (3 - 2 * done))

    def pose(self, k: int) -> Pose:
        """Return the pose in plane k."""
        radius = self.radius * (1 + self.growth * k) * (1 - 0.2 * abs(self.offset(k)) / 1.15)
        scale = radius * np.array([self.stretch**0.5, self.stretch**-0.5])
        middle = pose(self.place + self.velocity * k, scale, self.degrees + self.spin * k)
        return Pose(middle.matrix, middle.to_plane(np.array([self.offset(k), 0.0])))

    def distance(self, points: Array) -> Array:
        """Return the distance from the middle, relative to the outline."""
        angle = np.arctan2(points[:, 1], points[:, 0])
        outline = 1 + sum(
            amplitude * np.cos((wave + 2) * angle + phase)
            for wave, (amplitude, phase) in enumerate(self.lobes)
        )
        return np.asarray(np.hypot(points[:, 0], points[:, 1]) / outline)

    def inside(self, k: int, points: Array) -> Array:
        """Return whether the cell exists at surface points in plane k."""
        on_side = self.half * (points[:, 0] + self.offset(k)) >= 0
        return np.asarray(on_side & (self.distance(points) < 1))


_DIVISION = 7  # planes that a division takes


def cell_surface(cell: Cell, brightness: float, shared: Any, own: Any) -> Surface:
    """Return the surface of a cell.

    Parameters
    ----------
    cell : Cell
        Its shape and movement.
    brightness : float
        Brightness of the cytoplasm.
    shared, own : callable
        Grains of both halves of a cell, and those of the part of a half that appears when it
        divides.
    """

    def color(points: Array) -> Array:
        grains, new = shared(points), np.clip(-cell.half * points[:, 0] / 0.4, 0, 1)
        changed = new > 0
        grains[changed] += new[changed] * (own(points[changed]) - grains[changed])
        distance = cell.distance(points)
        nucleus = 1 / (1 + np.exp((np.hypot(points[:, 0], points[:, 1]) - 0.45) / 0.03))
        body = brightness * (1 - 0.55 * distance**4) * (1 + 0.22 * grains)
        chromatin = 0.8 * (1 + 0.16 * grains)
        return np.asarray((1 - nucleus) * body + nucleus * chromatin)[:, None]

    return Surface(cell.pose, color, cell.inside, 1 + cell.lobes[:, 0].sum())


def cells(size: int, planes: int) -> Scene:
    """Return a time-lapse of cells that move, grow and divide, over a still ground."""
    rng = np.random.default_rng(5)
    ground = noise(rng, 0.03)
    surfaces = [
        Surface(lambda _: pose((0, 0)), lambda points: 0.11 + 0.025 * ground(points)[:, None])
    ]
    places: list[Array] = []
    while len(places) < 10:
        place = rng.uniform(0, 1, 2)
        if all(np.hypot(*(place - other)) > 0.27 for other in places):
            places.append(place)
    for index, place in enumerate(places):
        cell = Cell(
            place=place,
            velocity=rng.normal(0, 0.5 * _UNIT, 2),
            radius=rng.uniform(0.11, 0.145),
            growth=rng.uniform(0.004, 0.012),
            degrees=rng.uniform(0, 360),
            spin=rng.normal(0, 0.8),
            stretch=rng.uniform(1, 1.5),
            lobes=np.column_stack([rng.uniform(0, [0.09, 0.06, 0.04]), rng.uniform(0, 7, 3)]),
        )
        brightness, shared = rng.uniform(0.3, 0.5), noise(rng, 0.16)
        if index % 3:
            surfaces.append(cell_surface(cell, brightness, shared, shared))
            continue
        for half in (1, -1):
            part = replace(cell, half=half, divides_at=float(index / 3))
            surfaces.append(cell_surface(part, brightness, shared, noise(rng, 0.16)))
    return scene("cells", surfaces, size, planes)


SCENES: dict[str, Callable[[int, int], Scene]] = {
    "pan": pan,
    "turn": turn,
    "objects": objects,
    "shake": shake,
    "cells": cells,
    "still": still,
}
