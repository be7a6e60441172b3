"""`blendin models`: list, download, inspect, find and delete models."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blendin_local.cli.complete_names import complete_model, complete_name
from blendin_local.cli.grouped_help import LazyOptionsCommand
from blendin_local.cli.tables import add_row, new_table, print_parts
from blendin_local.errors import CatalogueError, SettingError
from blendin_local.safe_text import sanitize

if TYPE_CHECKING:
    from blendin_local.llamacpp.header import GgufHeader
    from blendin_local.models.catalogue import Catalogue
    from blendin_local.models.discovery import LocalModel, PairSuggestion
    from blendin_local.models.entries import ModelEntry
    from blendin_local.models.suggestions import Suggestions

_SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?([KMGT](?:i?B)?)", re.IGNORECASE | re.ASCII)
_UNITS = {
    f"{prefix}{form}": (1024 if form == "IB" else 1000) ** power
    for power, prefix in enumerate("KMGT", 1)
    for form in ("", "B", "IB")
}
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")


@click.group()
def models() -> None:
    """List, pull, inspect, find and remove models."""


@models.command("list")
@_json
def list_models(as_json: bool) -> None:
    """List the models and pairs of the catalogue."""
    from blendin_local.files import models_dir
    from blendin_local.models.catalogue import load_catalogue, user_catalogue_file
    from blendin_local.models.download.store import find_pulled
    from blendin_local.presentation.formatting import size

    catalogue = load_catalogue()
    files = {name: find_pulled(entry) for name, entry in catalogue.models.items()}
    if as_json:
        shown = {
            "models": [_model_json(entry, files[name]) for name, entry in catalogue.models.items()],
            "pairs": [
                {"name": pair.name, "base": pair.base, "guide": pair.guide, "description": pair.description}
                for pair in catalogue.pairs.values()
            ],
            "catalogue": str(user_catalogue_file()),
            "folder": str(models_dir()),
        }
        click.echo(json.dumps(shown, indent=2))
        return
    pairs = new_table("Pair", "Base + guide")
    for pair in catalogue.pairs.values():
        add_row(pairs, pair.name, f"{pair.base} + {pair.guide}\n{pair.description}".rstrip())
    table = new_table("Model", "Pulled", "Licence and note")
    for name, entry in catalogue.models.items():
        path = files[name]
        about = f"{entry.licence}\n{entry.note}".strip()
        add_row(table, name, size(path.stat().st_size) if path else "no", about)
    print_parts(pairs, "", table, "")
    _echo(f"Models are stored in {models_dir()}; your own entries are in {user_catalogue_file()}.")


def _model_json(entry: ModelEntry, path: Path | None) -> dict[str, Any]:
    return {
        "name": entry.name,
        "path": str(path) if path else None,
        "size": entry.size,
        "sha256": entry.sha256 or None,
        "sources": list(entry.sources),
        "licence": entry.licence,
        "note": entry.note,
        "approximate_size": entry.approximate_size,
        "thinking": entry.thinking,
        "checked": entry.checked,
    }


@models.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_name)
@click.option("--force", is_flag=True, help="Download again, even if present.")
def pull(names: tuple[str, ...], force: bool) -> None:
    """Download models.

    NAME is a pair or a model of the catalogue, a source such as hf:OWNER/REPO:FILE.gguf, or a URL; without
    a name, the demo pair is pulled. Models that are already present are skipped.
    """
    from blendin_local.models.catalogue import load_catalogue
    from blendin_local.models.download import pull as pull_model
    from blendin_local.models.download import pull_warning
    from blendin_local.presentation.progress_display import Display, download_progress

    catalogue = load_catalogue()
    entries = {entry.name: entry for name in names or ("demo",) for entry in _entries(catalogue, name)}
    try:
        for entry in entries.values():
            with Display() as display:
                if warning := pull_warning(entry):
                    display.warn(warning)
                path = pull_model(entry, progress=download_progress(display), force=force)
            _echo(f"{entry.name}: {path}")
    except KeyboardInterrupt:
        click.echo("Stopped. The same command resumes the download.", err=True)
        raise


def _entries(catalogue: Catalogue, name: str) -> list[ModelEntry]:
    """Return the models to pull for a name: one model, or those of a pair that are not local files."""
    from blendin_local.files import local_path

    if name not in catalogue.pairs:
        if name not in catalogue.models and local_path(name).is_file():
            raise CatalogueError(f"{name} is a file on this machine already: use it by its path.")
        return [catalogue.model(name)]
    pair = catalogue.pair(name)
    return [
        catalogue.model(each)
        for each in (pair.base, pair.guide)
        if each in catalogue.models or not local_path(each).is_file()
    ]


class _WithModelOptions(LazyOptionsCommand):
    """A command with the options of loading, whose declaration imports NumPy."""

    def load_options(self) -> Callable[[Any], Any]:
        from blendin_local.cli.options import model_options

        return model_options


@models.command(cls=_WithModelOptions)
@click.argument("names", nargs=-1, required=True, metavar="MODEL [MODEL]", shell_complete=complete_name)
@_json
def inspect(names: tuple[str, ...], as_json: bool, **values: Any) -> None:
    """Show the metadata of a model; of two, also whether they are compatible.

    MODEL is a file or a name. Of two, the first is the base and the second the guide; the name of a pair
    stands for both. The memory is estimated for the options of model loading, in RAM and on each device.
    """
    from blendin_local.cli.options import model_options_of
    from blendin_local.models.catalogue import load_catalogue
    from blendin_local.models.inspection import inspect_files
    from blendin_local.preferences.preferences import load_preferences

    catalogue, options = load_catalogue(), model_options_of(values, load_preferences().models)
    if len(names) == 1 and names[0] in catalogue.pairs and not Path(names[0]).is_file():
        pair = catalogue.pair(names[0])
        names = (pair.base, pair.guide)
        options = options.recommended(pair.base_options, pair.guide_options)
    if len(names) > 2:
        raise click.UsageError("Give one model, or two.")
    inspection = inspect_files([catalogue.resolve_model(name) for name in names], options)
    if as_json:
        click.echo(json.dumps(inspection.as_json(), indent=2))
        return
    table = new_table("", *(header.label for header in inspection.headers), wrapped=True)
    for row in inspection.rows():
        add_row(table, *row)
    print_parts(table, "")
    for sentence in inspection.sentences():
        _echo(sentence)


@models.command()
@click.argument("folders", nargs=-1, metavar="[FOLDER]...", type=click.Path(path_type=Path))
@_json
def find(folders: tuple[Path, ...], as_json: bool) -> None:
    """Find GGUF files on this machine, and suggest pairs of them.

    Searches this tool's own folder, the Hugging Face cache, the model folders of Ollama, LM Studio and
    llama.cpp, and every FOLDER given.
    """
    from blendin_local.models.discovery import scan, suggest_pairs
    from blendin_local.presentation.formatting import size
    from blendin_local.presentation.progress_display import Display
    from blendin_local.progress import Progress

    with Display() as display:
        found = list(
            scan(folders, progress=lambda path: display.progress(Progress(f"reading {path.name}", 0)))
        )
    pairs = suggest_pairs(found)
    if as_json:
        shown = {
            "models": [_found_json(each) for each in found if not each.problem],
            "left_out": [
                {"name": each.name, "path": str(each.path), "place": each.place, "reason": each.problem}
                for each in found
                if each.problem
            ],
            "pairs": [_suggestion_json(each) for each in pairs],
        }
        click.echo(json.dumps(shown, indent=2))
        return
    if not found:
        click.echo("No GGUF files found: name a folder to search, or run `blendin models pull`.")
        return
    table = new_table("Size", "Architecture", "Quantization", "Context", "Vocabulary", "Model and file")
    for each in found:
        if each.header and not each.problem:
            row = (size(each.size_bytes), *_found_columns(each.header), f"{each.name}\n{each.path}")
            add_row(table, *row)
    print_parts(table)
    for each in found:
        if each.problem:
            _echo(f"Left out: {each.path} ({each.problem})")
    if pairs:
        click.echo("\nSuggested pairs (base + guide):")
    for suggestion in pairs:
        _echo(f"  {suggestion.base.name} + {suggestion.guide.name}: {'; '.join(suggestion.reasons)}")


def _found_columns(header: GgufHeader) -> tuple[str, str, str, str]:
    return header.architecture, header.quantization, f"{header.n_ctx_train}", header.fingerprint[:8]


def _found_json(found: LocalModel) -> dict[str, Any]:
    from blendin_local.models.inspection import header_json

    assert found.header is not None
    about = {"instruct": found.instruct, "family": found.family}
    return {"name": found.name, "place": found.place, **header_json(found.header), **about}


def _suggestion_json(suggestion: PairSuggestion) -> dict[str, Any]:
    return {
        "base": str(suggestion.base.path),
        "guide": str(suggestion.guide.path),
        "same_vocabulary": suggestion.same_vocabulary,
        "reasons": list(suggestion.reasons),
    }


_PLACES = {"device": "on {devices}", "split": "in RAM, part on {devices} (--gpu-layers)", "RAM": "in RAM"}


@models.command()
@click.option(
    "--memory",
    metavar="SIZE",
    callback=lambda context, param, text: None if text is None else _memory_size(text),
    help="RAM of another machine, such as 8GB.  [default: this machine's, and its GPUs]",
)
@_json
def suggest(memory: int | None, as_json: bool) -> None:
    """Suggest pairs of the catalogue that fit this machine's memory, pulled or not.

    Best first: the pair with the largest base. A fifth of the RAM, at least 1 GB, is left to other programs.
    """
    from blendin_local.models.catalogue import load_catalogue
    from blendin_local.models.suggestions import Machine, this_machine
    from blendin_local.models.suggestions import suggest as suggest_pairs
    from blendin_local.preferences.preferences import load_preferences
    from blendin_local.presentation.formatting import size

    machine = this_machine() if memory is None else Machine(memory)
    options = load_preferences().models
    found = suggest_pairs(load_catalogue(), machine, options)
    if as_json:
        click.echo(json.dumps(_suggestions_json(found), indent=2))
        return
    devices = ", ".join(machine.devices)
    held = size(machine.ram) + (f" of RAM, {size(machine.device_memory)} on {devices}" if devices else "")
    if not found.fitting:
        least = found.smallest
        rest = f": the smallest, {least.entry.name}, takes about {size(least.memory)}" if least else ""
        room = size(machine.usable_ram + machine.usable_device_memory)
        _echo(f"No pair of the catalogue fits into {held}, of which {room} can be used{rest}.")
    else:
        table = new_table("Pair", "Download", "Memory", "Where", "Good for, and the next command")
        for pair in found.fitting:
            about = pair.entry.description + (" (thinks before it answers)" if pair.thinking else "")
            add_row(
                table,
                pair.entry.name,
                size(pair.download) if pair.missing else "here",
                f"{'' if pair.measured else 'about '}{size(pair.memory)}",
                _PLACES[pair.place].format(devices=devices),
                f"{about}\n{pair.command}".strip(),
            )
        _echo(f"Pairs that fit into {held}, at a context of {options.n_ctx or 'all'} tokens:")
        print_parts(table)
    if found.unknown:
        _echo(f"Left out, because the size of a model is not known: {', '.join(found.unknown)}.")


def _memory_size(text: str) -> int:
    """Return the bytes of a size such as "8GB" or "16 GiB". Raises SettingError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or not (found := int(float(match[1]) * _UNITS[match[2].upper()])):
        raise SettingError(f"--memory must be a size such as 8GB, not {text!r}.")
    return found


def _suggestions_json(found: Suggestions) -> dict[str, Any]:
    machine = found.machine
    return {
        "memory": machine.ram,
        "usable_memory": machine.usable_ram,
        "devices": list(machine.devices),
        "device_memory": machine.device_memory,
        "usable_device_memory": machine.usable_device_memory,
        "pairs": [
            {
                "name": pair.entry.name,
                "base": pair.entry.base,
                "guide": pair.entry.guide,
                "description": pair.entry.description,
                "thinking": pair.thinking,
                "pulled": not pair.missing,
                "missing": [model.name for model in pair.missing],
                "download": pair.download,
                "memory": pair.memory,
                "place": pair.place,
                "command": pair.command,
            }
            for pair in found.fitting
        ],
        "unknown_size": list(found.unknown),
    }


@models.command()
@click.argument("name", shell_complete=complete_model)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def remove(name: str, yes: bool) -> None:
    """Delete a pulled model.

    Deletes only files in this tool's own folder; of a file elsewhere, only the record is removed.
    """
    from blendin_local.models.catalogue import load_catalogue
    from blendin_local.models.download.store import entry_folder, files_elsewhere
    from blendin_local.models.download.store import remove as remove_files
    from blendin_local.presentation.formatting import size

    entry = load_catalogue().model(name)
    folder = entry_folder(entry)
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    if not files:
        raise CatalogueError(f"{name} has not been pulled, so there is nothing to delete.")
    held = sum(path.stat().st_size for path in files)
    elsewhere = files_elsewhere(entry)
    if not elsewhere and not yes:
        click.confirm(f"Delete {folder} ({size(held)})?", abort=True)
    remove_files(entry)
    if not elsewhere:
        click.echo(f"{name} is deleted.")
    for path in elsewhere:
        how = "`hf cache` deletes it there" if "models--" in str(path) else "delete it yourself"
        _echo(f"The record of {name} is removed; its file is kept in another folder: {path} ({how}).")


def _echo(text: str) -> None:
    click.echo(sanitize(text))
