"""`blendin generate --input`: answer every row of a file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

import click

from blendin_local.batch.reading import InputOptions
from blendin_local.batch.request import BatchRequest
from blendin_local.batch.run import Batch, open_batch
from blendin_local.batch.sink import is_standard_output
from blendin_local.cli import INTERRUPTED
from blendin_local.cli.batch_progress import BatchProgress
from blendin_local.cli.batch_summary import print_summary
from blendin_local.cli.options import read_generation_arguments
from blendin_local.cli.outputs import check_distinct, check_writable, write_output
from blendin_local.cli.terminal import is_terminal
from blendin_local.engine.interrupt import interrupting, terminating
from blendin_local.presentation.plain_data import to_json
from blendin_local.presentation.progress_display import Display

SOME_FAILED = 1


def generate_rows(values: Mapping[str, Any]) -> None:
    """Run the job that the options of `blendin generate` describe. Raises BlendinError."""
    request = _make_request(values)
    _check_files(request, values)
    try:
        with terminating():
            batch = _run(request, quiet=values["quiet"])
    except KeyboardInterrupt:
        # No row has begun; the output is unchanged.
        click.echo("Stopped.", err=True)
        sys.exit(INTERRUPTED)
    _show(batch, values)
    _exit(batch)


def _make_request(values: Mapping[str, Any]) -> BatchRequest:
    columns = values["column"], values["id_column"], values["system_column"]
    same = ("output", "with_steps", "candidates", "output_format", "limit", "parallel", "retry_failed")
    return BatchRequest(
        source=InputOptions(values["input"], values["input_format"], *columns),
        **read_generation_arguments(values)._asdict(),
        system=values["system"] or "",
        **{name: values[name] for name in (*same, "overwrite", "ray", "workers")},
    )


def _check_files(request: BatchRequest, values: Mapping[str, Any]) -> None:
    """Raise BlendinError for unusable files, before a job of hours."""
    source, output = (None if values[name] == "-" else values[name] for name in ("input", "output"))
    check_distinct({"--output": output, "--report": values["report"]}, [source, *request.reads])
    request.check_output()
    if values["report"]:
        from blendin_local.batch.output import check_apart
        from blendin_local.presentation.html_page import check_available

        check_available()
        check_apart(values["input"], values["report"], request.reads)
        check_writable("--report", Path(values["report"]))


def _run(request: BatchRequest, *, quiet: bool) -> Batch:
    """Run the job until it ends or is stopped. Raises KeyboardInterrupt before the first row."""
    on_screen = is_standard_output(request.output) and is_terminal(sys.stdout)
    with ExitStack() as stack:
        with Display(quiet=quiet) as display:
            batch = stack.enter_context(open_batch(request, display))
        progress = BatchProgress(quiet=quiet, total=batch.total, in_lines=on_screen)
        stack.enter_context(progress)
        batch.run(progress, progress.update, interrupting)
    if batch.fault and not batch.output.written:
        raise batch.fault
    return batch


def _show(batch: Batch, values: Mapping[str, Any]) -> None:
    """Print and write the summary, unless the job was stopped."""
    if batch.stopped:
        return
    report = batch.report()
    if not values["quiet"]:
        print_summary(report)
    if values["as_json"]:
        click.echo(to_json(report.to_dict()))
    if values["report"]:
        from blendin_local.batch.report_page import batch_page

        write_output(Path(values["report"]), batch_page(report))


def _exit(batch: Batch) -> None:
    """Exit with 130 for a stopped job and 1 for failed rows. Raises BlendinError for a fault."""
    if batch.stopped:
        _exit_stopped(batch)
    if batch.fault:
        raise batch.fault
    if batch.cancellation.requested:
        _exit_stopped(batch)
    if batch.stats.failed:
        sys.exit(SOME_FAILED)


def _exit_stopped(batch: Batch) -> NoReturn:
    hint = f" Finished answers are saved: run {batch.output.resume_command} to resume."
    click.echo(f"Stopped.{hint if Path(batch.request.output).is_file() else ''}", err=True)
    sys.exit(INTERRUPTED)
