"""Draw the quality of all presets against their time; see docs/benchmarks.md."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pairs import FOLDER_HELP, SIX, with_images
from quality import Measures, measure
from results import RESULTS_HELP, Results
from rich.console import Console
from rich.table import Table

from napari_nst.presets import presets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["dominated"]

_MEASURES = ("style_distance", "structure", "similarity", "seconds")
_DRAWING = (1200, 440)  # pixels
_LEGEND_HEIGHT = 36  # pixels
_TICKS = (2, 5, 10, 20, 50, 100, 200)  # seconds


def dominated(results: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """Return the presets that a faster one beats, each with the faster one.

    Parameters
    ----------
    results : mapping of str to mapping
        For each preset its mean style distance, structure, similarity and seconds.
    """
    return {
        name: other
        for name, own in results.items()
        for other, faster in results.items()
        if faster["seconds"] < own["seconds"]
        and faster["style_distance"] < own["style_distance"]
        and faster["structure"] > own["structure"]
        and faster["similarity"] > own["similarity"]
    }


def _draw(
    path: Path,
    results: Mapping[str, Mapping[str, Measures]],
    means: Mapping[str, Mapping[str, float]],
) -> None:
    """Draw style distance and both measures of structure against the time, and their means."""
    import pyqtgraph
    from pyqtgraph.exporters import ImageExporter

    application = pyqtgraph.mkQApp()
    pyqtgraph.setConfigOptions(background="w", foreground="k", antialias=True)
    window = pyqtgraph.GraphicsLayoutWidget(size=_DRAWING)
    colors = [
        pyqtgraph.intColor(index, hues=len(means), maxValue=200) for index in range(len(means))
    ]
    plots = []
    for column, name in enumerate(_MEASURES[:3]):
        plot = window.addPlot(row=1, col=column, title=name.replace("_", " "))
        plot.setLabel("bottom", "seconds")
        plot.getAxis("bottom").setTicks([[(np.log10(tick), str(tick)) for tick in _TICKS]])
        plot.showGrid(x=True, y=True, alpha=0.2)
        plots.append(plot)
    legend = pyqtgraph.LegendItem(colCount=len(means), horSpacing=30)
    for (preset, mean), color in zip(means.items(), colors, strict=True):
        brush = pyqtgraph.mkBrush(color)
        for plot, name in zip(plots, _MEASURES, strict=False):
            measured = results[preset].values()
            seconds = np.log10([each.seconds for each in measured])
            values = [getattr(each, name) for each in measured]
            plot.plot(
                seconds,
                values,
                pen=None,
                symbol="o",
                symbolSize=5,
                symbolPen=None,
                symbolBrush=pyqtgraph.mkBrush(*color.getRgb()[:3], 110),
            )
            item = plot.plot(
                [np.log10(mean["seconds"])],
                [mean[name]],
                pen=None,
                symbol="s",
                symbolSize=12,
                symbolPen="k",
                symbolBrush=brush,
            )
        legend.addItem(item, preset)
    window.addItem(legend, row=0, col=0, colspan=len(plots))
    window.ci.layout.setRowMaximumHeight(0, _LEGEND_HEIGHT)
    window.resize(*_DRAWING)
    window.show()
    application.processEvents()  # lays the plots out
    ImageExporter(window.scene()).export(str(path))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="longest side (default: 256)")
    parser.add_argument("--folder", type=Path, help=FOLDER_HELP)
    parser.add_argument("--presets", nargs="+", default=list(presets()), choices=list(presets()))
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="write the results there")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the means (needs a display)")
    parser.add_argument("--results", type=Path, metavar="JSON", help=RESULTS_HELP)
    options = parser.parse_args(arguments)
    kept_measures = Results(options.size, options.results)
    results: dict[str, dict[str, Measures]] = {}
    for key in options.presets:
        settings = presets()[key].resolve().replace(output_size="working")
        if settings.size == "auto":
            settings = settings.replace(size=options.size)
        folder = options.pictures and options.pictures / key
        results[key] = {}
        for name, content, style in with_images(SIX, options.folder):
            run = partial(measure, name, content, style, settings, folder)
            results[key][name] = kept_measures.measured(key, name, run)
            print(key, name, results[key][name], file=sys.stderr)
    means = {
        presets()[key].name: {
            name: float(np.mean([getattr(measured, name) for measured in of_pairs.values()]))
            for name in _MEASURES
        }
        for key, of_pairs in results.items()
    }
    worse = dominated(means)
    table = Table("preset", *(name.replace("_", " ") for name in _MEASURES), "worse than")
    for name, row in means.items():
        table.add_row(name, *(f"{value:.3f}" for value in row.values()), worse.get(name, ""))
    Console(stderr=True).print(table)
    print(kept_measures)
    if options.plot:
        named = {presets()[key].name: of_pairs for key, of_pairs in results.items()}
        _draw(options.plot, named, means)
    return int(bool(worse))


if __name__ == "__main__":
    sys.exit(main())
