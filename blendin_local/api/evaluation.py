"""The public functions `tune` and `compare`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

from blendin_local.api.arguments import as_list, check_number, example_of, find_pair, replace_options
from blendin_local.api.pair import LoadedPair
from blendin_local.api.progress import ShowProgress, open_watcher
from blendin_local.compare.answers import Answers, answers_file
from blendin_local.compare.arms import ArmSpec
from blendin_local.compare.plan import arm_of, check_run
from blendin_local.compare.request import CompareRequest, CompareResult, prepare
from blendin_local.compare.settings import RunSettings, TaskSpec
from blendin_local.errors import SettingError
from blendin_local.formats import Formats
from blendin_local.models.catalogue import Catalogue, load_catalogue
from blendin_local.settings import ModelOptions
from blendin_local.tune import BUDGET
from blendin_local.tune.run import ReferenceAnswers, TuneRequest, TuneResult, read_references, run_tune_pass

__all__ = ["compare", "tune"]


def tune(
    pair: str | LoadedPair | None = None,
    examples: Iterable[Mapping[str, Any]] | str | Path | None = None,
    *,
    base: str | Path | None = None,
    guide: str | Path | None = None,
    task: str | None = None,
    shots: int = 0,
    max_tokens: int = BUDGET,
    seed: int = 0,
    system: str = "",
    base_format: str = "auto",
    guide_format: str = "auto",
    fresh: bool = False,
    progress: ShowProgress = None,
    **options: Any,
) -> TuneResult:
    """Score every method and threshold of a pair on reference answers (docs/tune.md).

    examples: objects with `prompt` or `messages` and `response`, a file of them, or with `task` the file of
    its questions; None uses the package's own answers. The other arguments are those of the command line.
    The pass is saved: the same call resumes a stopped one.

    Raises EvaluationError, CatalogueError, ModelError, PromptError, SettingError, or KeyboardInterrupt at
    Ctrl-C.
    """
    for name, value, low in (("shots", shots, 0), ("max_tokens", max_tokens, 1), ("seed", seed, 0)):
        check_number(name, value, low)
    if isinstance(pair, LoadedPair):
        files, opened, formats = (
            pair.models.files,
            replace_options(pair.models.options, options),
            pair.formats,
        )
    else:
        files, opened = find_pair(pair, base, guide), replace_options(ModelOptions(), options)
        formats = Formats(base_format, guide_format)
    with open_watcher(progress) as watcher:
        if examples is None or isinstance(examples, (str, Path)):
            references = read_references(examples, task, shots=shots, seed=seed, watcher=watcher)
        else:
            references = ReferenceAnswers(tuple(map(example_of, examples, count(1))), "given examples")
        request = TuneRequest(files, references, opened, formats, system, max_tokens, seed, fresh)
        return run_tune_pass(request, watcher).analyse(seed=seed)


def compare(
    arms: str | Iterable[str | Mapping[str, Any]],
    *,
    task: str | Sequence[str] | None = None,
    data: str | Path | Sequence[str | Path] | None = None,
    text: str | Path | None = None,
    fresh: bool = False,
    progress: ShowProgress = None,
    options: ModelOptions | None = None,
    **settings: Any,
) -> CompareResult:
    """Compare pairs, methods and single models on tasks or on a text (docs/compare.md).

    arms: each the name of a pair, a model, or an object with the keys of a plan's [[arms]], such as
    {"pair": "demo", "method": ["nudge", "blendin"]}. data: the file of each task's questions. settings:
    fields of `RunSettings`, such as limit or seed. Answers are saved: the same call resumes.

    Raises EvaluationError, CatalogueError, ModelError, SettingError, or KeyboardInterrupt at Ctrl-C.
    """
    catalogue = load_catalogue()
    tasks, files = as_list(task), [str(path) for path in as_list(data)]
    if len(tasks) != len(files):
        raise SettingError(f"There are {len(tasks)} task and {len(files)} data: give each task its file.")
    chosen = replace_options(RunSettings(text=None if text is None else Path(text)), settings)
    check_run({name: value for name, value in settings.items() if value is not None})
    request = CompareRequest(
        tuple(_arm(arm, number, catalogue) for number, arm in enumerate(as_list(arms), 1)),
        tuple(map(TaskSpec, tasks, files)),
        chosen,
        options or ModelOptions(),
    )
    with closing(Answers(answers_file(), fresh=fresh)) as answers, open_watcher(progress) as watcher:
        return prepare(request, catalogue, answers, watcher).run(answers, watcher)


def _arm(arm: str | Mapping[str, Any], number: int, catalogue: Catalogue) -> ArmSpec:
    if not isinstance(arm, str):
        if not isinstance(arm, Mapping):
            raise SettingError(f"Arm {number} must be a name or an object, not {type(arm).__name__}.")
        return arm_of(arm, number)
    return ArmSpec(pair=arm) if arm in catalogue.pairs else ArmSpec(model=arm)
