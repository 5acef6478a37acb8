"""The measures and the pictures of tools/experiment.py."""

from __future__ import annotations

import numpy as np
import pytest

import experiment


def noise(seed: int = 0, size: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.2, 0.6, (size, size))


def two_squares() -> np.ndarray:
    labels = np.zeros((20, 20), np.int64)
    labels[2:6, 2:6], labels[10:14, 10:14] = 1, 2
    return labels


def test_dice_counts_the_overlap_of_nonzero_pixels() -> None:
    mask = two_squares()
    half = np.where(mask == 1, mask, 0)
    assert experiment.dice(mask, mask) == 1
    assert experiment.dice(mask, half) == pytest.approx(2 * 16 / (32 + 16))
    assert experiment.dice(mask, mask == 0) == 0
    assert experiment.dice(mask * 0, mask * 0) == 1


def test_f1_counts_objects_that_overlap_by_more_than_half() -> None:
    truth = two_squares()
    assert experiment.f1(truth, truth) == 1
    assert experiment.f1(np.where(truth == 1, 1, 0), truth) == pytest.approx(2 / 3)
    assert experiment.f1(np.roll(truth, 2, 0), truth) == 0  # an IoU of a third
    merged = (truth > 0).astype(np.int64)  # an IoU of 0.5 with each
    assert experiment.f1(merged, truth) == 0
    assert experiment.f1(truth * 0, truth * 0) == 1


def test_the_wasserstein_distance_of_a_shift_is_the_shift_in_any_order_of_pixels() -> None:
    image = noise()
    shuffled = np.random.default_rng(1).permutation(image.ravel()).reshape(image.shape)
    assert experiment.wasserstein(image, shuffled + 0.125) == pytest.approx(0.125)


def test_twice_the_contrast_adds_six_decibels_to_the_spectrum() -> None:
    image = noise()
    assert experiment.spectrum_distance(image, 2 * image + 3) == pytest.approx(20 * np.log10(2))


def test_texture_distance_ignores_contrast() -> None:
    image = noise()
    deviation = experiment.local_deviation(image).mean()
    assert experiment.contrast_distance(image, 2 * image) == pytest.approx(deviation)
    assert experiment.texture_distance(image, 0.5 * image) < 0.01
    assert experiment.texture_distance(image, experiment.gaussian(image, 2)) > 0.2


def test_rank_correlation_depends_on_the_order_only() -> None:
    labels = np.repeat(np.arange(5), 4).reshape(5, 4)
    values = labels.astype(float)
    assert experiment.rank_correlation(values**3, values, labels) == pytest.approx(1)
    assert experiment.rank_correlation(-values, values, labels) == pytest.approx(-1)


def test_match_spectrum_gives_the_content_the_spectrum_of_the_style() -> None:
    content, style = experiment.gaussian(noise(0), 2), noise(1)
    before = experiment.spectrum_distance(content, style)
    assert (
        experiment.spectrum_distance(experiment.match_spectrum(content, style), style) < before / 5
    )


def test_cells_are_found_in_both_modalities_and_repeat_with_the_seed() -> None:
    scene = experiment.make_scene(5, 160)
    truth = scene.labels
    for image, find in (
        (experiment.fluorescence(scene, 5), experiment.segment_fluorescence),
        (experiment.phase_contrast(scene, 5), experiment.segment_phase),
    ):
        assert image.dtype == np.uint16
        assert 0 < image.min() and image.max() < 65535  # nothing is clipped
        found = find(experiment.Range.from_percentiles(image).to_unit(image).astype(float))
        assert experiment.dice(found, truth) > 0.85
        assert experiment.f1(found, truth) > 0.85
    assert np.array_equal(truth, experiment.make_scene(5, 160).labels)
    assert not np.array_equal(truth, experiment.make_scene(6, 160).labels)


def test_an_experiment_measures_every_method_and_makes_a_table_and_a_figure() -> None:
    small = experiment.cells(seeds=(1, 2), size=96)
    measures, pictures = experiment.run(small, iterations=2)
    truth = measures["the truth"]
    assert [row["r with truth"] for row in truth] == pytest.approx([1, 1])
    for name, rows in measures.items():
        assert len(rows) == 2
        assert all(np.isfinite(list(row.values())).all() for row in rows), name
    matched, untouched = ([r["grey, W1"] for r in measures[n]] for n in ("histogram", "untouched"))
    assert np.mean(matched) < np.mean(untouched) / 5
    lines = experiment.table(measures).splitlines()
    assert len(lines) == 2 + len(measures)
    assert all(line.count("|") == lines[0].count("|") for line in lines)
    sheet = experiment.figure(pictures, dict.fromkeys(pictures, "caption"))
    assert sheet.mode == "L" and np.asarray(sheet).std() > 0


def test_the_stains_of_a_section_are_different_images_of_one_field() -> None:
    case = experiment.stains().cases[0]
    assert case.content.shape == case.truth.shape == (256, 256)
    assert abs(experiment.correlation(case.content, case.truth)) < 0.3
    assert not any(np.array_equal(other, case.truth) for other in case.others)
