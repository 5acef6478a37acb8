"""``napari-nst weights``: fetch, list and verify the weights of the networks."""

# No "from __future__ import annotations" here: typer makes the options of the annotations.

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from napari_nst.cache import cache_directory
from napari_nst.cli._interrupt import INTERRUPTED
from napari_nst.errors import InputError, WeightsError
from napari_nst.networks import NETWORKS

__all__ = ["commands"]

_ERROR = 2
_MEGABYTE = 10**6

commands = typer.Typer()


@commands.callback(invoke_without_command=True)
def _weights(context: typer.Context) -> None:
    """Fetch, list and verify the weights of the networks."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@commands.command()
def fetch(
    network: Annotated[
        Literal["vgg19"], typer.Argument(help="The network; VGG-16's weights are in the package.")
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Download without asking.")] = False,
) -> None:
    """Download a network's weights into the cache directory.

    An interrupted download continues where it stopped.
    """
    from napari_nst.cli._progress import say

    try:
        _fetch(yes, say)
    except KeyboardInterrupt:
        say(f"cancelled; 'napari-nst weights fetch {network}' continues the download.")
        raise typer.Exit(INTERRUPTED) from None


@commands.command("list")
def list_weights() -> None:
    """Show the file of each network's weights, or how to get it."""
    from napari_nst.engine.network import weights

    for network in NETWORKS:
        try:
            file = weights.find(network)
            sha256 = weights.load(network).sha256
        except WeightsError as error:
            print(f"{network:<8}{error}")
        else:
            print(f"{network:<8}{file}")
            print(f"{'':8}{_size(file)}, sha256 {sha256}")


@commands.command()
def verify() -> None:
    """Verify the hashes of the weights; exit with status 2 if a file is damaged."""
    from napari_nst.cli._progress import say
    from napari_nst.engine.network import weights

    damaged = False
    for network in NETWORKS:
        try:
            weights.find(network)
        except WeightsError:
            print(f"{network:<8}not on this machine")
            continue
        try:
            sha256 = weights.load(network).sha256
        except WeightsError as error:
            damaged = True
            say(str(error))
        else:
            print(f"{network:<8}intact, sha256 {sha256}")
    if damaged:
        raise typer.Exit(_ERROR)


@commands.command()
def path() -> None:
    """Show the cache directory."""
    print(cache_directory())


def _fetch(yes: bool, say: Callable[[str], None]) -> None:
    from napari_nst.engine.network import converted
    from napari_nst.engine.network.download import fetch_vgg19
    from napari_nst.engine.network.weights import VGG19_URL

    existing = converted.find_intact()
    if existing is not None:
        say(f"VGG-19's weights are in {existing} already.")
        return
    if not yes:
        _ask(
            f"Download VGG-19's weights (548 MB, of which 40 MB are kept) from {VGG19_URL} to "
            f"{cache_directory()}?"
        )
    with _download_progress(say) as on_progress:
        file = fetch_vgg19(on_progress=on_progress)
    say(f"wrote VGG-19's weights to {file} ({_size(file)}).")


def _ask(question: str) -> None:
    try:
        agreed = typer.confirm(question, default=True, err=True)
    except typer.Abort:  # Ctrl-C, or the end of the input
        print(file=sys.stderr)
        if sys.stdin.isatty():
            raise typer.Exit(INTERRUPTED) from None
        raise InputError("Nobody answered: add --yes to download without a question.") from None
    if not agreed:
        raise typer.Exit


@contextmanager
def _download_progress(say: Callable[[str], None]) -> Iterator[Callable[[int, int | None], None]]:
    """Show the progress of a download: a bar in a terminal, otherwise a line per tenth."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_interactive:
        yield _tenths(say)
        return
    columns = (BarColumn(bar_width=None), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, expand=True) as progress:
        task = progress.add_task("", total=None)

        def update(done: int, total: int | None) -> None:
            progress.update(task, completed=done, total=total)

        yield update


def _tenths(say: Callable[[str], None]) -> Callable[[int, int | None], None]:
    printed = -1

    def update(done: int, total: int | None) -> None:
        nonlocal printed
        tenth = 10 * done // total if total else printed
        if tenth > printed:
            printed = tenth
            say(f"{_megabytes(done)} of {_megabytes(total or 0)} are here")

    return update


def _size(file: Path) -> str:
    return _megabytes(file.stat().st_size)


def _megabytes(size: int) -> str:
    return f"{size / _MEGABYTE:.1f} MB"
