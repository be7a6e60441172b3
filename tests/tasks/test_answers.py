"""What a free text says: numbers, choices, yes or no, dates, letters; and replies that say nothing."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blendin_local.tasks.answers import (
    final_date,
    final_letters,
    final_number,
    final_yes_no,
    parse_date,
)
from blendin_local.tasks.chosen_option import final_choice
from blendin_local.tasks.numerals import numbers_equal, numbers_in, parse_number, parse_words, plain_number
from blendin_local.tasks.statements import normal, own_part

# Numbers in a text


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("18", [18]),
        ("18.", [18]),
        ("18.50", ["18.5"]),
        (".5 of it", ["0.5"]),
        ("wait...5", [5]),
        ("$18", [18]),
        ("$ 18", [18]),
        ("-$18", [-18]),
        ("$-18", [-18]),
        ("€1,450,000.75", ["1450000.75"]),
        ("1\u202f450\u00a0000", [1450000]),
        ("1,00,000", [100000]),
        ("1,2,3", [1, 2, 3]),
        ("1,2345", [1, 2345]),
        ("in 2,125 days and 3 hours", [2125, 3]),
        ("it fell to -10", [-10]),
        ("it fell to \u221210", [-10]),
        ("x = -10", [-10]),
        ("x=-10", [-10]),
        ("x = - 10", [-10]),
        ("16-3=13", [16, 3, 13]),
        ("16 - 3 = 13", [16, 3, 13]),
        ("16 -3 = 13", [16, 3, 13]),
        ("(16) - 3", [16, 3]),
        ("(16)-3", [16, 3]),
        ("50%-10", [50, 10]),
        ("5-10 days", [5, 10]),
        ("- 18 eggs", [18]),
        ("3/4 of a cup", ["3/4"]),
        ("1 1/2 cups", ["3/2"]),
        ("1½ cups", ["3/2"]),
        ("½ a cup", ["1/2"]),
        ("-½", ["-1/2"]),
        ("18 / 3 = 6", [6, 6]),
        ("5/0", [5]),
        ("on 10/12/2020", [10]),
        (r"\frac{3}{4}", [3, 4]),  # LaTeX is the business of whoever reads replies
        ("1e3 and 2.5e-2", [1000, "0.025"]),
        ("1.5 × 10^6", [1500000]),
        ("5 x 10 = 50", [5, 10, 50]),
        ("5 x 102", [5, 102]),
        ("$1.45 million", [1450000]),
        ("2 hundred", [200]),
        ("hundreds of 2", [2]),
        ("the 2nd and the 18th of 20", [20]),
        ("Rs.50", [50]),
        ("H2O and COVID-19 and A4", [19]),
        ("18m² or 7kg", [18, 7]),
        ("no number", []),
        ("", []),
        ("...", []),
        ("٣", [3]),
    ],
)
def test_numbers_of_a_text(text: str, values: list[object]) -> None:
    assert [number.value for number in numbers_in(text)] == [Fraction(str(value)) for value in values]


def test_rows_of_digits_without_end_are_no_numbers() -> None:
    """Python reads no integer of more than 4300 digits."""
    for endless in ("9" * 5000, "1/" + "9" * 5000, "9" * 400 + ".5", ",999" * 2000):
        assert final_number(f"It is 18, so {endless}").value in (18, 1)  # type: ignore[union-attr]
        assert parse_number(endless) is None
    assert plain_number(parse_number("1.5e999") or Fraction(0)).startswith("15000")


def test_where_numbers_stand() -> None:
    text = "It is 5 % of $2,000."
    first, second = numbers_in(text)
    assert (text[first.start : first.end], first.percent) == ("5 %", True)
    assert (text[second.start : second.end], second.percent) == ("$2,000", False)


@given(st.integers(-(10**12), 10**12), st.sampled_from(["{}", "${}", "so {} eggs.", "({})", "**{}**"]))
def test_integers_are_read_as_they_are_written(value: int, frame: str) -> None:
    for written in (str(value), f"{value:,}"):
        assert [number.value for number in numbers_in(frame.format(written))] == [value]


@given(st.text(st.sampled_from("0123456789,.-/%$ eE½x×^()=\u202f\nmillion"), max_size=40))
def test_any_text_gives_numbers_within_it(text: str) -> None:
    ends = 0
    for number in numbers_in(text):
        assert ends <= number.start < number.end <= len(text)
        ends = number.end


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("five", 5),
        ("twenty-five eggs", 25),
        ("Two Hundred and six", 206),
        ("one thousand two hundred", 1200),
        ("three million", 3000000),
        ("hundred", None),
        ("someone", None),
        ("none", None),
    ],
)
def test_numbers_in_words(text: str, value: int | None) -> None:
    found = parse_words(text)
    assert (found.value if found else None) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18", 18),
        (" 2,125 ", 2125),
        ("-10", -10),
        ("51.0", 51),
        ("$5.50", "5.5"),
        ("50%", 50),
        ("3/4", "3/4"),
        ("18 eggs", None),
        ("18 19", None),
        ("eighteen", None),
        ("", None),
    ],
)
def test_gold_numbers(text: str, value: object) -> None:
    assert parse_number(text) == (None if value is None else Fraction(str(value)))


@pytest.mark.parametrize(
    ("reply", "gold", "equal"),
    [
        ("18", "18", True),
        ("18.0000001", "18", True),
        ("18.01", "18", False),
        ("3.3333333", "10/3", True),
        ("-18", "18", False),
        ("0", "0", True),
        ("0.0000001", "0", False),
        ("50%", "50", True),
        ("50%", "0.5", True),
        ("0.5", "50", False),
        ("1450001", "1450000", True),
        ("1450010", "1450000", False),
    ],
)
def test_equal_but_for_rounding(reply: str, gold: str, equal: bool) -> None:
    assert numbers_equal(numbers_in(reply)[0], Fraction(gold)) is equal


def test_numbers_are_shown_plainly() -> None:
    assert plain_number(Fraction(1450000)) == "1450000"
    assert plain_number(Fraction(1, 3)) == "0.3333333333"


# The number of a reply


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("18", 18),
        ("She makes $18 every day at the farmers' market.", 18),
        ("9 * 2 = $18\n#### 18", 18),
        ("#### 1,450,000", 1450000),
        ("####-10", -10),
        ("#### $5.50 per hour", "5.5"),
        ("#### 3\nThat leaves 7 of 10.", 3),
        ("The answer is 18.", 18),
        ("So the answer is: $18 a day for 7 days.", 18),
        ("The final answer is **18**", 18),
        ("**Answer:** 18 eggs", 18),
        ("Answer: 5 + 3 = 8", 8),
        ("The answer is 5 apples + 3 apples = 8 apples for 2 children", 8),
        ("The answer is 18, since 16-7=9 and 9*2=18", 18),
        ("The answer is 8 because 5+4=9", 8),
        ("The answer is 5. Wait, no: the answer is 6.", 6),
        ("The answer is five.", 5),
        ("The answer is twenty-five dollars", 25),
        ("The answer is the last of these: 4, then 6", 4),
        ("The answer is unknown, but 5 of 7 is close", 5),
        (r"The final answer is \boxed{1{,}450}", 1450),
        (r"Thus \(x = \frac{3}{4}\)", "3/4"),
        (r"\boxed{\text{18 eggs}}", 18),
        (r"\boxed{18\%}", 18),
        ("To answer this we count 5 red and 7 blue: 12 in all.", 12),
        ("To find the answer:\n1. Add 5 and 7.\nThat makes 12.", 12),
        ("The way to the answer is to add 5 and 7, which makes 12.", 12),
        ("The answers are 5 and 7", 5),
        ("The answer can be found by adding 5 and 7.\n5 + 7 = 12", 12),
        ("First 16 - 3 = 13.\nThen 13 - 4 = 9.", 9),
        ("- 3 boxes\n- 18 eggs", 18),
        ("It falls by 3 degrees to -10.", -10),
        ("He is left with 50%", 50),
        ("It takes 1 1/2 hours", "3/2"),
        ("18\n\nQuestion: A robe takes 2 bolts. How many?\nAnswer: 3", 18),
        ("The answer is 18.\n\nQ: How many?\nA: The answer is 3.", 18),
        ("The answer is 18.\nUser: and 5?", 18),
        ("No idea.", None),
        ("", None),
        ("####", None),
        ("The answer is", None),
    ],
)
def test_the_number_that_a_reply_ends_in(reply: str, value: object) -> None:
    found = final_number(reply)
    assert (found.value if found else None) == (None if value is None else Fraction(str(value)))


@given(st.text(max_size=200))
def test_no_text_is_too_odd(reply: str) -> None:
    final_number(reply)
    final_choice(reply, ("a cat", "a dog", reply[:5]))
    final_yes_no(reply)
    final_date(reply)
    final_letters(reply)
    assert normal(normal(reply)) == normal(reply)


# Choices

CATS = ("cats", "dogs", "cats and dogs", "no pets")


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        ("b)", "B"),
        ("(B)", "B"),
        ("[B]", "B"),
        ("B.", "B"),
        ("B. dogs", "B"),
        ("B: dogs", "B"),
        ("**B**", "B"),
        ("B\n\nBecause cats scratch.", "B"),
        ("Option B", "B"),
        ("Answer: B", "B"),
        ("answer: b", "B"),
        ("The answer is (B).", "B"),
        ("The answer is (b) dogs", "B"),
        ("The correct answer is B because cats (A) scratch.", "B"),
        ("The answer is: B", "B"),
        ("The answer is:\n\nB. dogs", "B"),
        ("The best option is C.", "C"),
        ("The correct choice would be (C), since (A) and (B) are each half of it.", "C"),
        (r"\boxed{B}", "B"),
        (r"\boxed{\text{(B)}}", "B"),
        ("The answer is A because they purr.", "A"),
        ("The answer is A.", "A"),
        ("The answer is A cat", None),
        ("The answer is dogs.", "B"),
        ("The answer is cats and dogs.", "C"),
        ("The answer is not clear, but I would go for dogs.", "B"),
        ("Let us see. They bark, so I choose option B.", "B"),
        ("Not option A but option B", None),
        ("They bark, so it is (B).", "B"),
        ("(A) is wrong and (B) is right", "A"),
        ("Both (A) and (B) are possible", None),
        ("A. cats\nB. dogs\nC. cats and dogs\nD. no pets", None),
        ("(A) cats\n(B) dogs\n\nThey bark, so B.\n(B)", "B"),
        ("A. cats\nB. dogs\nThe answer is B.", "B"),
        ("B. dogs\nThey bark.", "B"),
        (
            "The correct answer is C. Dogs bark.\n\nThe steps to choose the correct answer are:\n\nA. Look.",
            "C",
        ),
        ("The correct answer is C.\nThis is how to find the correct answer:\nA. Look.", "C"),
        ("They bark.\nB", "B"),
        ("They bark.\nB.", "B"),
        ("It must be dogs", "B"),
        ("Dogs bark. Cats purr. It must be dogs.", "B"),
        ("It must be cats and dogs, both of them.", "C"),
        ("It could be cats, dogs or both.", None),
        ("A dog barks.", None),
        ("I do not know.", None),
        ("E", None),
        ("", None),
        ("B\n\nQuestion: Which one purrs?\nAnswer: A", "B"),
        ("The answer is B. Hmm, wait. The answer is C.", "C"),
    ],
)
def test_the_option_that_a_reply_chooses(reply: str, letter: str | None) -> None:
    assert final_choice(reply, CATS) == letter


@pytest.mark.parametrize(
    ("reply", "options", "letter"),
    [
        ("It must be Rr", ("RR", "rr", "Rr", "R"), "C"),
        ("It must be Paris.", ("Paris", "Paris", "Rome"), None),
        ("It is $5.50", ("$5.50", "$5", "$50"), "A"),
        ("They are 25 percent", ("25%", "25 percent"), "B"),
        ("True, False", ("True, True", "True, False", "False, True", "False, False"), "B"),
        ("\u2018The Times\u2019", ("'The Times'", "'The Sun'"), "A"),
        ("It is the one", ("", "one"), "B"),
        ("The answer is A and D.", ("up", "down", "left", "A and D"), "D"),
        ("The answer is D.", ("D", "E", "F", "G"), "D"),
        ("The answer is I think none", tuple(f"option{n}" for n in range(9)), None),
        ("The answer is I.", tuple(f"option{n}" for n in range(9)), "I"),
    ],
)
def test_options_of_all_kinds(reply: str, options: tuple[str, ...], letter: str | None) -> None:
    assert final_choice(reply, options) == letter


@given(st.integers(0, 3), st.sampled_from(["{l}", "({l})", "The answer is {l}. {t}", "It must be {t}."]))
def test_every_option_can_be_chosen(place: int, frame: str) -> None:
    reply = frame.format(l="ABCD"[place], t=CATS[place])
    assert final_choice(reply, CATS) == "ABCD"[place]


# Yes or no


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("Yes", True),
        ("yes, it is", True),
        ("No", False),
        ("No, it is not.", False),
        ("No it isn't", False),
        ("no.", False),
        ("**No**", False),
        ("True", True),
        ("false", False),
        ("plausible", True),
        ("implausible", False),
        ("It is not plausible.", False),
        ("The sentence is not  true", False),
        ("So the answer is yes.", True),
        ("So the answer is no.", False),
        ("Yes and no. Frogs need water. So the answer is no.", False),
        ("The answer is: implausible", False),
        ("#### yes", True),
        ("They swim, so yes.", True),
        ("They have no fins, so it is true", True),
        ("No matter what they do, the answer is yes.", True),
        ("No frog flies; I would say yes", True),
        ("They have no fins.", None),
        ("Nobody knows", None),
        ("", None),
        ("Yes\n\nQuestion: Do they fly?\nAnswer: no", True),
    ],
)
def test_yes_or_no(reply: str, said: bool | None) -> None:
    assert final_yes_no(reply) is said


# Dates


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("05/01/2021", "2021-05-01"),
        ("5/1/2021", "2021-05-01"),
        ("2021-05-01", "2021-05-01"),
        ("May 1, 2021", "2021-05-01"),
        ("May 1st 2021", "2021-05-01"),
        ("Sept. 9, 1999", "1999-09-09"),
        ("1 May 2021", "2021-05-01"),
        ("the 1st of May, 2021", "2021-05-01"),
        ("Yesterday was 04/30/2021, so today is 05/01/2021.", "2021-05-01"),
        ("The answer is 05/01/2021, a day after 04/30/2021.", "2021-05-01"),
        ("It is 02/31/2021.", None),
        ("It is 13/13/2021 or 05/01/2021", "2021-05-01"),
        ("It is 05/01/20210", None),
        ("In May 2021", None),
        ("maybe 12 2021", None),
        ("", None),
    ],
)
def test_the_date_of_a_reply(reply: str, found: str | None) -> None:
    date = final_date(reply)
    assert (date.isoformat() if date else None) == found


def test_a_gold_date_is_the_only_one() -> None:
    assert str(parse_date("05/01/2021")) == "2021-05-01"
    assert parse_date("05/01/2021 or 05/02/2021") is None


# Letters


@pytest.mark.parametrize(
    ("reply", "letters"),
    [
        ("yajo", "yajo"),
        ("Yajo.", "yajo"),
        ('"yajo"', "yajo"),
        ('The answer is "yajo".', "yajo"),
        ("The answer is yajo, of course", "yajo"),
        ("The answer is the string yajo", "yajo"),
        ("The answer is y-a-j-o.", "yajo"),
        ("The answer is y a j o", "yajo"),
        ("y + a + j + o = yajo", "yajo"),
        ('The last letters are "y", "a", "j", "o"', "yajo"),
        ('The last letter of "Whitney" is "y".\nConcatenating them gives "yajo".', "yajo"),
        ("The last letters give 'yajo'", "yajo"),
        (r"\boxed{yajo}", "yajo"),
        ("The words don't matter: it's yajo", "yajo"),
        ("18", None),
        ("", None),
    ],
)
def test_the_letters_of_a_reply(reply: str, letters: str | None) -> None:
    assert final_letters(reply) == letters


# What belongs to a reply


@pytest.mark.parametrize(
    ("reply", "own"),
    [
        ("  18 \n", "18"),
        ("18\n\nQuestion: next?", "18"),
        ("18\nQ: next?", "18"),
        ("18\r\nUser: next?", "18"),
        ("18\n### Instruction: next", "18"),
        ("18\n\nProblem 2: next?", "18"),
        ("18\n\n**Example 2:** next?", "18"),
        ("18\n\nFor Example: 5", "18\n\nFor Example: 5"),
        ("18\n\nExample: 5", "18\n\nExample: 5"),
        ("18\nA: 5", "18"),
        ("Choose:\nA: 5\nB: 6", "Choose:\nA: 5\nB: 6"),
        ("It is one of\nA: 5\n\nB: 6", "It is one of\nA: 5\n\nB: 6"),
        ("Q: How many?\nA: 18\nQ: next?", "Q: How many?\nA: 18"),
        (
            "Let's solve it:\n\nProblem: How many?\nA: 18\nProblem: next?",
            "Let's solve it:\n\nProblem: How many?\nA: 18",
        ),
        ("Q: I am asked", "Q: I am asked"),
        ("The question: is it 18?", "The question: is it 18?"),
        ("It\u2019s \u201c\u22125\u201d", 'It\'s "-5"'),
    ],
)
def test_a_reply_ends_where_the_next_question_begins(reply: str, own: str) -> None:
    assert own_part(reply) == own


def test_an_endless_reply_is_read_at_once() -> None:
    """Lines of nothing but marks took a pattern time that grew with their cube."""
    for loop in ("\n#", "\n", "\nA:", "Answer: ", "not "):
        assert final_number("It is 18.\n" + loop * 5000) is not None


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (" Paris. ", "paris"),
        ("\u201cParis\u201d", "paris"),
        ("New\n  York!", "new york"),
        ("STRASSE", "straße"),
        ("", ""),
    ],
)
def test_texts_that_are_the_same(text: str, same: str) -> None:
    assert normal(text) == normal(same)
