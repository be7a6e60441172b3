"""Loops are found in real answers that loop, and not in what repeats itself for a reason."""

from __future__ import annotations

import json
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.paths import ROOT

from blendin_local.batch.loops import Loop, find_loop

# Greedy answers of the demo pair and of its models, and what they repeat.
LOOPING = {
    "clauses": (
        "The soul is a mirror of the soul, " + "a mirror of the soul, " * 11 + "a mirror",
        "a mirror of the soul,",
    ),
    "sentences": (
        "I'm glad to hear that. " + "I'm glad to have you as a friend.\n" * 9 + "I'm glad to have",
        "I'm glad to have you as a friend.",
    ),
    "three times the whole answer": (
        " ".join(["Fruits are the most important food for humans."] * 3),
        "Fruits are the most important food for humans.",
    ),
    "two sentences in turn": (
        "12 books are in the library at the end of Monday.\n\n37 books are in the library at the end of "
        "Monday.\n\n" * 4,
        "12 books are in the library at the end of Monday. 37 books are in the library at the end of Monday.",
    ),
    "a list of one thing": (
        "".join(f"{n}. {'Apples' if n < 5 else 'Oranges'}\n" for n in range(1, 30)),
        "Oranges",
    ),
    "a list in circles": (
        "".join(f"{n + 1}. {('Mars', 'Jupiter', 'Saturn', 'Uranus', 'Venus')[n % 5]}\n" for n in range(30)),
        "Mars Jupiter Saturn Uranus Venus",
    ),
    "speakers": ("Waiter: I’m sorry.\n\nGuest: I’m sorry.\n\n" * 6, "Waiter: I’m sorry. Guest: I’m sorry."),
    "a placeholder": ("Yours sincerely,\n" + "[Your Name]\n\n" * 18, "[Your Name]"),
    "a script without spaces": ("水はどこから来るのか。" * 5, "水はどこから来るのか。"),
    "one letter": ("Sure: " + "g" * 300, "g"),
    "one mark": ("Yes" + "!" * 500, "!"),
    "a word within the unit": ("the cat and the dog and the cat and the bird; " * 4, None),
}

INNOCENT = {
    "empty": "",
    "one sentence": "The tide is drawn by the moon.",
    "list": "".join(
        f"{n}. {name}\n" for n, name in enumerate(["Apples", "Pears", "Plums", "Figs", "Dates"], 1)
    ),
    "counting": ", ".join(map(str, range(1, 200))),
    "table": "| planet | moons | rings |\n|---|---|---|\n"
    + "".join(f"| {name} | {n} | no |\n" for n, name in enumerate(["Mercury", "Venus", "Earth", "Mars"])),
    "wide table": "|" + " --- |" * 30 + "\n",
    "rules": "Title\n" + "=" * 78 + "\nText\n" + "-" * 78 + "\n",
    "years": "".join(f"Year {2000 + n}: {n * 7 % 23} degrees\n" for n in range(25)),
    "decimals": "One third is 0." + "3" * 60 + ", and so on.",
    "refrain": (
        "Row, row, row your boat,\nGently down the stream.\nMerrily, merrily, merrily, merrily,\nLife is a "
        "dream.\n\nThe wheels on the bus go round and round,\nRound and round, round and round.\nThe wheels "
        "on the bus go round and round,\nAll through the town.\n"
    ),
    "verses": "".join(
        f"The {what} comes home when the day is done,\nAnd the river runs on to the sea.\nIt has {seen} of "
        "the sun,\nAnd the river runs on to the sea.\n\n"
        for what, seen in (("ship", "seen the last"), ("gull", "had enough"), ("rain", "never known"))
    ),
    "laughter": "Ha ha ha ha ha ha ha ha! That is a good one.",
    "matrix": "\n".join(" ".join("1" if row == column else "0" for column in range(9)) for row in range(9)),
    "code": "".join(
        f"    @property\n    def {name}(self):\n        return self._{name}\n\n"
        for name in ("left", "right", "top")
    ),
    "braces": "if (a) {\n  if (b) {\n    if (c) {\n      d();\n    }\n  }\n}\n" * 2,
}


@pytest.mark.parametrize("name", LOOPING)
def test_what_loops_is_found_with_its_unit(name: str) -> None:
    text, unit = LOOPING[name]
    found = find_loop(text)
    assert found
    if unit is not None:
        assert found.unit == unit
    assert found.times >= 3 and found.share > 0.3


@pytest.mark.parametrize("name", INNOCENT)
def test_what_repeats_itself_for_a_reason_is_no_loop(name: str) -> None:
    assert find_loop(INNOCENT[name]) is None


def test_blank_lines_without_end_are_a_loop() -> None:
    assert find_loop("1 + 1 = 2" + "\n" * 91) == Loop("", 91, 0.91)
    assert find_loop("1 + 1 = 2\n\n\n") is None


def test_how_often_and_where() -> None:
    unit = "He said it once more and left the room. "
    whole = find_loop(unit * 10)
    assert whole and whole.times == 10 and whole.share == 1.0
    middle = find_loop(
        unit * 10 + "Then she closed the door, took the letter, and read it by the window. " * 2
    )
    assert middle and middle.times == 10 and 0.6 < middle.share < 0.8


def test_of_several_loops_the_longest_is_told() -> None:
    found = find_loop(
        "It is the soul that is the essence of humanity. " * 9 + "Again and again and again. " * 6
    )
    assert found and found.unit == "It is the soul that is the essence of humanity."


def test_reference_answers_source_code_and_prose_do_not_loop() -> None:
    """Over half a megabyte, in pieces of the length of an answer."""
    answers = resources.files("blendin_local.tune").joinpath("examples.jsonl").read_text("utf-8")
    texts = [json.loads(line)["response"] for line in answers.splitlines()]
    for folder, pattern in ((ROOT / "blendin_local", "[a-m]*.py"), (ROOT / "docs", "*.md")):
        for path in sorted(folder.rglob(pattern)):
            source = path.read_text("utf-8")
            texts += [source[place : place + 2500] for place in range(0, len(source), 2500)]
    assert sum(map(len, texts)) > 500_000
    assert [text for text in texts if find_loop(text)] == []


@given(st.text(min_size=1, max_size=60), st.text(max_size=40), st.integers(3, 9))
def test_a_unit_said_often_enough_is_found_after_any_beginning(unit: str, beginning: str, times: int) -> None:
    unit = " ".join(f"{unit} over and over.".split()) + " "
    size = len(unit.encode("utf-8", "replace"))
    found = find_loop(beginning + "\n" + unit * (times + 1 + 120 // size))
    assert found and found.share > 0.5


@given(st.text())
def test_any_text_has_an_answer(text: str) -> None:
    found = find_loop(text)
    assert found is None or (found.times >= 3 and 0 < found.share <= 1)
