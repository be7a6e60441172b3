"""`blendin generate --input`: answers to all rows of a file, each written as soon as it is whole."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import click

from blendin_local.batch.job import (
    Answering,
    Pending,
    UntilDamaged,
    check_unchanged,
    peek,
    write_answers,
)
from blendin_local.batch.job_stats import JobStats
from blendin_local.batch.output import Output, check_apart, check_output, first_result, open_output
from blendin_local.batch.read_ahead import arriving
from blendin_local.batch.reading import InputOptions, RowSource, count_rows, open_rows
from blendin_local.batch.rows import BadRow, Row
from blendin_local.batch.run_manifest import RunManifest, describe_run
from blendin_local.batch.sink import is_standard_output
from blendin_local.cli import INTERRUPTED
from blendin_local.cli.batch_progress import BatchProgress
from blendin_local.cli.batch_summary import print_summary
from blendin_local.cli.compare_progress import CompareProgress
from blendin_local.cli.generate_answering import here, most_at_once, on_ray
from blendin_local.cli.generate_job import Job, Plan
from blendin_local.cli.generate_options import AUTO
from blendin_local.cli.options import formats_of, generation_settings_of, model_options_of
from blendin_local.cli.outputs import check_distinct, check_writable, write_output
from blendin_local.cli.terminal import is_terminal
from blendin_local.engine.interrupt import interrupting, terminating
from blendin_local.engine.language_model import Cancellation
from blendin_local.errors import BlendinError
from blendin_local.models.catalogue import load_catalogue
from blendin_local.models.loading import locate_pair, name_pair
from blendin_local.preferences.preferences import load_preferences
from blendin_local.presentation.plain_data import to_json

SOME_FAILED = 1


def generate_rows(values: Mapping[str, Any]) -> None:
    """Run the job that the options of `blendin generate` describe. Raises BlendinError."""
    plan = _planned(values)
    _check_files(plan)
    try:
        with terminating():
            job = _run(plan)
    except KeyboardInterrupt:
        # Nothing is under way yet, and the output is as it was.
        click.echo("Stopped.", err=True)
        sys.exit(INTERRUPTED)
    _end(job)


def _run(plan: Plan) -> Job:
    """The job, done or stopped. Raises KeyboardInterrupt for Ctrl-C before the output is open."""
    with ExitStack() as stack:
        source = stack.enter_context(open_rows(plan.source))
        run = _described(plan, source)
        tally = JobStats()
        output = stack.enter_context(_opened(plan, run, tally))
        total = _total(plan, output)
        progress = stack.enter_context(_progress(plan.values, total))
        _tell_found(output, progress)
        job = Job(plan, run, total, output, tally, progress, Cancellation())
        tally.start()
        try:
            _work(job, source)
        except BlendinError as error:
            job.fault = error
        except KeyboardInterrupt:
            job.stopped = True
        tally.stop()
    if job.fault and not output.written:
        raise job.fault
    return job


def _check_files(plan: Plan) -> None:
    """What would go wrong with files after hours goes wrong now."""
    values = plan.values
    source, output = (None if values[name] == "-" else values[name] for name in ("input", "output"))
    check_distinct({"--output": output, "--report": values["report"]}, [source, *plan.reads])
    check_apart(values["input"], values["output"], plan.reads)
    check_output(values["output"], overwrite=values["overwrite"])
    if values["report"]:
        from blendin_local.presentation.html_page import check_available

        check_available()
        check_apart(values["input"], values["report"], plan.reads)
        check_writable("--report", Path(values["report"]))


def _planned(values: Mapping[str, Any]) -> Plan:
    catalogue, preferences = load_catalogue(), load_preferences()
    entry = name_pair(catalogue, values["pair"], values["base"], values["guide"])
    seed = (preferences.seed or 0) if values["seed"] is None else values["seed"]
    columns = values["column"], values["id_column"], values["system_column"]
    return Plan(
        values=values,
        source=InputOptions(values["input"], values["input_format"], *columns),
        settings=generation_settings_of(values, entry, seed, preferences),
        options=model_options_of(values, preferences.models),
        formats=formats_of(values, preferences.formats),
        files=locate_pair(catalogue, entry),
    )


def _described(plan: Plan, source: RowSource) -> RunManifest:
    values, quiet = plan.values, plan.values["quiet"]
    wanted = values["output_format"]
    with CompareProgress(quiet=quiet) as progress:
        return describe_run(
            plan.settings,
            plan.files,
            plan.formats,
            plan.options,
            system=values["system"] or "",
            with_steps=values["with_steps"],
            candidates=values["candidates"],
            output_format=("openai" if source.format == "openai" else "jsonl") if wanted == AUTO else wanted,
            earlier=None if values["overwrite"] else first_result(values["output"]),
            progress=progress.hashing,
        )


def _opened(plan: Plan, run: RunManifest, tally: JobStats) -> Output:
    values = plan.values
    with CompareProgress(quiet=values["quiet"]) as progress:
        return open_output(
            values["output"],
            run,
            overwrite=values["overwrite"],
            retry_failed=values["retry_failed"],
            tally=lambda result: tally.add(result, kept=True),
            progress=lambda kept: progress.reading(values["output"], kept),
        )


def _total(plan: Plan, output: Output) -> int | None:
    """How many results the output will hold: those of rows that other inputs had, too; None for a pipe.

    Raises BatchError for a row that asks something else now than what the output answers.
    """
    total = count_rows(plan.source, plan.values["limit"])
    if total is None or not output.kept:
        return total
    with open_rows(plan.source) as source:
        return (
            total + output.kept - check_unchanged(_rows(plan, source), output.ledger, plan.values["output"])
        )


def _rows(plan: Plan, source: RowSource) -> Iterator[Row | BadRow]:
    return islice(source.rows(plan.settings, plan.values["system"] or ""), plan.values["limit"])


def _progress(values: Mapping[str, Any], total: int | None) -> BatchProgress:
    on_screen = is_standard_output(values["output"]) and is_terminal(sys.stdout)
    return BatchProgress(quiet=values["quiet"], total=total, in_lines=on_screen)


def _tell_found(output: Output, progress: BatchProgress) -> None:
    if output.mended:
        progress.note("The last run left half a line at the end of the output: its row is asked again.")
    if output.retried:
        progress.note(f"{output.retried} failed rows are asked again.")


def _work(job: Job, source: RowSource) -> None:
    """Answer what is still to be answered; the models are loaded only if there is anything."""
    values = job.plan.values
    rows = _rows(job.plan, source)
    coming = rows if job.total is not None else arriving(rows)
    pending = UntilDamaged(Pending(coming, job.output.ledger, values["output"]))
    first, waiting = peek(pending, most_at_once(values["parallel"]))
    if first:
        answering = on_ray(job) if values["ray"] is not None else here(job, first)
        with answering as found:
            _write(job, found, waiting)
    if pending.damage and not job.cancellation.requested:
        raise pending.damage


def _write(job: Job, answering: Answering, rows: Iterable[Row | BadRow | None]) -> None:
    with interrupting(job.cancellation.cancel):
        job.tally.start()
        job.progress.update(job.tally, answering.active)
        for result in write_answers(rows, answering, job.output):
            job.tally.add(result)
            job.progress.update(job.tally, answering.active)
            if error := result["error"]:
                job.progress.note(f"{result['id']} ({error['where']}): {error['message']}", error["kind"])
        # To end workers takes time in which nothing is written.
        job.tally.stop()


def _end(job: Job) -> None:
    """Tell what came of it, and leave with the exit code that says so."""
    if job.stopped:
        _stopped(job)
    values, tally = job.plan.values, job.tally
    interrupted = job.cancellation.requested
    left = None if job.total is None else max(0, job.total - tally.rows)
    report = tally.report(
        left=left if interrupted or job.fault else 0,
        interrupted=interrupted,
        input=values["input"],
        output=values["output"],
        parallel=job.parallel,
        settings=job.run.settings,
        models=job.run.models,
    )
    if not values["quiet"]:
        print_summary(report)
    if values["as_json"]:
        click.echo(to_json(report.to_dict()))
    if values["report"]:
        from blendin_local.batch.report_page import batch_page

        write_output(Path(values["report"]), batch_page(report))
    if job.fault:
        raise job.fault
    if interrupted:
        _stopped(job)
    if tally.failed:
        sys.exit(SOME_FAILED)


def _stopped(job: Job) -> NoReturn:
    """Leave after Ctrl-C."""
    hint = f" Nothing is lost: run {job.output.again} to go on from here."
    click.echo(f"Stopped.{hint if Path(job.plan.values['output']).is_file() else ''}", err=True)
    sys.exit(INTERRUPTED)
