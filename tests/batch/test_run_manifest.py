"""What tells one run from another, and whether a user is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from support.compare_fakes import header_of

from blendin_local.batch import run_manifest as identity
from blendin_local.batch.results import failed
from blendin_local.batch.rows import BadRow
from blendin_local.batch.run_manifest import DECIDING_OPTIONS, RunManifest, describe_run
from blendin_local.cli.generate import generate
from blendin_local.errors import ModelError, PromptError
from blendin_local.formats import Formats
from blendin_local.models.entries import PairEntry
from blendin_local.models.loading import PairFiles
from blendin_local.setting_spec import settings_of
from blendin_local.settings import BlendSettings, GenerationSettings, ModelOptions, SamplingSettings

CURVES = {"base": ((0.0, 1.0), (0.1, 0.9)), "guide": ((0.0, 1.0), (0.2, 0.8))}


@pytest.fixture
def files(tmp_path: Path) -> PairFiles:
    headers = []
    for name in ("large", "small"):
        path = tmp_path / f"{name}.gguf"
        path.write_text(name)
        headers.append(replace(header_of(name), path=path, chat_template="{{ messages }}"))
    return PairFiles(PairEntry("made", "large", "small", calibration=CURVES), *headers)


def run_of(files: PairFiles, settings: GenerationSettings | None = None, **more: Any) -> RunManifest:
    formats, options = more.pop("formats", Formats()), more.pop("options", ModelOptions())
    return describe_run(settings or GenerationSettings(), files, formats, options, **more)


def line_of(run: RunManifest) -> dict[str, Any]:
    """A line of this run's output, as it is read again."""
    line = failed(BadRow("a", 0, "line 1", "It is empty."), "bad row", "It is empty.", run)
    return dict(json.loads(json.dumps(line)))


def another(value: Any) -> Any:
    """Another value that every setting of this type accepts."""
    match value:
        case bool():
            return not value
        case "blendin":
            return "nudge"
        case "token":
            return "word"
        case "f16":
            return "q8_0"
        case "":
            return "1"
        case "auto":
            return "on"
        case int():
            return value + 1
        case float():
            return value + 0.5 if value < 0.5 else value - 0.25
        case tuple():
            return ("END",)
    raise AssertionError(value)


def changes() -> Iterator[tuple[str, GenerationSettings]]:
    """Every field of the settings, changed alone, by its name."""
    for name, cls in (("blend", BlendSettings), ("sampling", SamplingSettings)):
        # Values that have room above them.
        first = cls(**{"repetition_penalty": 2.0, "top_p": 0.9} if cls is SamplingSettings else {})
        for field in fields(cls):
            changed = replace(first, **{field.name: another(getattr(first, field.name))})
            yield field.name, GenerationSettings(**{name: changed})
    for field in fields(GenerationSettings):
        value = getattr(GenerationSettings(), field.name)
        # Models that do not think do not depend on max_thinking.
        if not is_dataclass(value) and field.name != "max_thinking":
            yield field.name, GenerationSettings(**{field.name: another(value)})


FIRST = GenerationSettings(sampling=SamplingSettings(repetition_penalty=2.0, top_p=0.9))
FLAGS = {flag for parameter in generate.params for flag in parameter.opts}


@pytest.mark.parametrize(
    ("name", "settings"), changes(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_setting_makes_another_run(files: PairFiles, name: str, settings: GenerationSettings) -> None:
    first = FIRST if settings.sampling != SamplingSettings() else GenerationSettings()
    before, after = run_of(files, first), run_of(files, settings)
    assert before.run_id != after.run_id
    (difference,) = after.differences(line_of(before))
    flag, is_word, now, and_word, was_word, *was = difference.split()
    assert flag in FLAGS and flag == "--" + name.replace("_", "-")
    assert (is_word, and_word, was_word) == ("is", "and", "was") and now and was


def test_differences_are_told_in_words(files: PairFiles) -> None:
    before = run_of(files)
    after = run_of(
        files,
        GenerationSettings(BlendSettings(gamma=0.6, guide_stop=False), stop=("\n", "END")),
        system="Be brief.",
        with_steps=True,
        candidates=3,
        output_format="openai",
    )
    assert after.differences(line_of(before)) == [
        "--gamma is 0.6 and was 0.4",
        "--guide-stop is off and was on",
        r"--stop is '\n', 'END' and was not set",
        "--system is 'Be brief.' and was not set",
        "the format of the output is openai and was jsonl",
        "--steps is on and was off",
        "--candidates is 3 and was 0",
    ]


@pytest.mark.parametrize("name", settings_of(ModelOptions))
def test_what_of_the_options_decides_an_answer_makes_another_run(files: PairFiles, name: str) -> None:
    before = run_of(files)
    after = run_of(files, options=replace(ModelOptions(), **{name: another(getattr(ModelOptions(), name))}))
    if name in DECIDING_OPTIONS:
        assert before.run_id != after.run_id
        (difference,) = after.differences(line_of(before))
        assert difference.split()[0] == "--" + name.replace("_", "-") in FLAGS
    else:
        assert before == after


def test_options_of_one_model_are_part_of_a_run_where_they_decide(files: PairFiles) -> None:
    before = run_of(files)
    assert run_of(files, options=ModelOptions(guide_options={"n_ctx": 8, "kv_type": "f16"})) == before
    after = run_of(files, options=ModelOptions(guide_options={"kv_type": "q8_0"}))
    assert after.settings["options"] == before.settings["options"]
    assert after.differences(line_of(before)) == ["--guide-set kv_type is q8_0 and was not set"]
    assert before.differences(line_of(after)) == ["--guide-set kv_type is not set and was q8_0"]
    both = {"kv_type": "q8_0"}
    assert run_of(files, options=ModelOptions(base_options=both, guide_options=both)) == run_of(
        files, options=ModelOptions(kv_type="q8_0")
    )
    recommended = replace(files, entry=replace(files.entry, guide_options=both))
    assert run_of(recommended) == after


@pytest.mark.parametrize(
    ("more", "difference"),
    [
        ({"system": "Be brief."}, "--system is 'Be brief.' and was not set"),
        ({"with_steps": True}, "--steps is on and was off"),
        ({"candidates": 5}, "--candidates is 5 and was 0"),
        ({"output_format": "openai"}, "the format of the output is openai and was jsonl"),
        ({"formats": Formats("raw", "auto")}, "--base-format is raw and was chat"),
        ({"formats": Formats("auto", "raw")}, "--guide-format is raw and was chat"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_beside_the_settings_makes_another_run(
    files: PairFiles, more: dict[str, Any], difference: str
) -> None:
    before, after = run_of(files), run_of(files, **more)
    assert before.run_id != after.run_id
    assert after.differences(line_of(before)) == [difference]


@pytest.mark.parametrize("role", ["base", "guide"])
def test_another_file_is_another_run_whatever_its_name(files: PairFiles, role: str) -> None:
    before = run_of(files)
    getattr(files, role).path.write_text("other weights")
    after = run_of(files)
    (difference,) = after.differences(line_of(before))
    name, digests = getattr(files, role).label, [run.models[role]["sha256"][:12] for run in (after, before)]
    assert difference == (
        f"the {role} is another file: {name} (SHA-256 {digests[0]}), and was {name} (SHA-256 {digests[1]})"
    )


def test_another_file_says_all_about_its_model(files: PairFiles) -> None:
    """That its template and its curve are others too is no news."""
    before = run_of(files)
    files.base.path.write_text("other weights")
    entry = replace(files.entry, calibration={**CURVES, "base": ((0.0, 1.0), (0.0, 1.0))})
    after = run_of(PairFiles(entry, replace(files.base, chat_template="{{ no }}"), files.guide))
    assert len(after.differences(line_of(before))) == 1


@pytest.mark.parametrize("role", ["base", "guide"])
def test_another_template_of_one_name_is_another_run(files: PairFiles, role: str) -> None:
    before = run_of(files)
    after = run_of(replace(files, **{role: replace(getattr(files, role), chat_template="{{ other }}")}))
    assert before.run_id != after.run_id
    assert after.differences(line_of(before)) == [f"the template of --{role}-format chat is another one"]


@pytest.mark.parametrize("role", ["base", "guide"])
def test_a_pair_tuned_in_between_is_another_run(files: PairFiles, role: str) -> None:
    before = run_of(files)
    curves = {**CURVES, role: ((0.0, 1.0), (0.0, 1.0))}
    after = run_of(replace(files, entry=replace(files.entry, calibration=curves)))
    assert before.run_id != after.run_id
    (difference,) = after.differences(line_of(before))
    assert difference.startswith(f"the calibration of the {role} is another one, because")
    untuned = run_of(replace(files, entry=replace(files.entry, calibration=None)))
    assert (before.calibrated, untuned.calibrated) == (True, False)
    assert len(untuned.differences(line_of(before))) == 2


def test_rows_that_were_too_long_can_be_retried_in_a_longer_context(files: PairFiles) -> None:
    """What fitted is the same in it."""
    assert run_of(files) == run_of(files, options=ModelOptions(n_ctx=8192))


def dated(files: PairFiles, role: str = "guide") -> PairFiles:
    header = replace(getattr(files, role), chat_template="{{ strftime_now('%d %B %Y') }} {{ messages }}")
    return replace(files, **{role: header})


class Clock(datetime):
    """Stands where it is set."""

    at = datetime(2026, 3, 1, 23, 59, 58, 123456)

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return cls.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Clock]]:
    monkeypatch.setattr(identity, "datetime", Clock)
    monkeypatch.setattr(Clock, "at", Clock.at)
    yield Clock


@pytest.mark.parametrize("role", ["base", "guide"])
def test_the_date_that_a_template_shows_is_kept_after_midnight(
    files: PairFiles, clock: type[Clock], role: str
) -> None:
    before = run_of(dated(files, role))
    assert before.settings["date"] == "2026-03-01T23:59:58"
    assert before.date == datetime(2026, 3, 1, 23, 59, 58)
    clock.at = datetime(2026, 3, 2)
    assert run_of(dated(files, role), earlier=line_of(before)) == before
    anew = run_of(dated(files, role))
    assert anew.differences(line_of(before)) == [
        "the date in its prompts is 2026-03-02T00:00:00 and was 2026-03-01T23:59:58"
    ]
    assert anew.run_id != before.run_id


def test_without_a_template_that_shows_it_a_run_has_no_date(files: PairFiles, clock: type[Clock]) -> None:
    run = run_of(files, earlier=line_of(run_of(dated(files))))
    assert "date" not in run.settings and run.date is None
    assert run_of(dated(files), formats=Formats("raw", "raw")).date is None


@pytest.mark.parametrize(
    "line", [{}, {"settings": 1}, {"settings": {"date": 5}}, {"settings": {"date": "soon"}}]
)
def test_a_line_without_a_date_gives_none(files: PairFiles, clock: type[Clock], line: dict[str, Any]) -> None:
    assert run_of(dated(files), earlier=line).settings["date"] == "2026-03-01T23:59:58"


@pytest.mark.parametrize("program", ["blendin_local", "llama_cpp_python"])
def test_another_version_is_another_run(files: PairFiles, program: str) -> None:
    now = run_of(files)
    settings = now.settings | {"versions": now.settings["versions"] | {program: "0.0.1"}}
    before = RunManifest(settings, now.models)
    assert before.run_id != now.run_id
    (difference,) = now.differences(line_of(before))
    assert difference == f"the version of {program} is {now.versions[program]} and was 0.0.1"


def test_names_and_places_of_files_make_no_other_run(files: PairFiles, tmp_path: Path) -> None:
    before = run_of(files)
    path = files.base.path.rename(tmp_path / "renamed.gguf")
    entry = replace(files.entry, name="other", base="other")
    after = run_of(PairFiles(entry, replace(files.base, path=path, name="Renamed"), files.guide))
    assert after.models["base"]["name"] == "Renamed"
    assert after.run_id == before.run_id


def test_a_number_is_the_same_however_it_is_typed(files: PairFiles) -> None:
    whole = GenerationSettings(BlendSettings(gamma=1), SamplingSettings(temperature=0))
    typed = GenerationSettings(BlendSettings(gamma=1.0), SamplingSettings(temperature=0.0))
    assert run_of(files, whole).run_id == run_of(files, typed).run_id


def test_seeds_are_told_apart_to_the_last_digit(files: PairFiles) -> None:
    runs = [run_of(files, GenerationSettings(seed=(1 << 62) + number)) for number in (0, 1)]
    assert runs[0].run_id != runs[1].run_id


def test_a_run_is_plain_data_that_does_not_change_on_its_way_through_a_file(files: PairFiles) -> None:
    run = run_of(files, GenerationSettings(stop=("\ud800", "a")), system="\udfff ä")
    line = line_of(run)
    again = RunManifest(line["settings"], line["models"])
    assert again == run
    assert again.run_id == run.run_id == line["run"]
    assert (again.with_steps, again.candidates, again.calibrated) == (False, 0, True)
    assert again.settings["options"] == {"kv_type": "f16", "flash_attention": "auto", "swa_full": True}
    assert set(again.models["base"]) == {"name", "sha256", "format", "calibration"}


@pytest.mark.parametrize(
    "line",
    [{}, {"settings": None, "models": []}, {"settings": "x", "models": {"base": 1}}, {"settings": [1]}],
)
def test_a_line_that_says_nothing_is_another_run_in_everything(
    files: PairFiles, line: dict[str, Any]
) -> None:
    found = run_of(files).differences(line)
    assert "--gamma is 0.4 and was not known" in found
    assert any(each.startswith("the guide is another file") for each in found)


def test_what_only_the_earlier_run_had_is_told_too(files: PairFiles) -> None:
    run = run_of(files)
    line = line_of(run)
    line["settings"]["blend"]["old_knob"] = 3
    assert run.differences(line) == ["--old-knob is not known and was 3"]
    assert run.differences(line_of(run)) == ["its lines were written by another version of this program"]


def test_words_of_a_file_are_shown_short_and_inert(files: PairFiles) -> None:
    line = line_of(run_of(files))
    line["settings"]["blend"] = {"method": "\x1b[2J" + "x" * 1000, "\x1b[2J": 1}
    line["models"]["base"] |= {"sha256": "\x1b[2J", "name": "\x1b]0;"}
    for difference in run_of(files).differences(line):
        assert "\x1b" not in difference
        assert len(difference) < 200


def test_what_cannot_be_read_is_one_sentence(files: PairFiles, tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="Unknown prompt format 'none'"):
        run_of(files, formats=Formats("none", "auto"))
    files.guide.path.unlink()
    with pytest.raises(ModelError, match=r"small\.gguf cannot be read"):
        run_of(files)


def test_reading_files_through_is_told(files: PairFiles) -> None:
    told: list[str] = []
    run_of(files, progress=lambda path, done, size: told.append(path.name))
    assert told == ["large.gguf", "small.gguf"]
