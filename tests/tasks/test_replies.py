"""Whole replies in the manner of small instruct models, and the answer that a reader would take from each."""

from __future__ import annotations

import pytest

from blendin_local.tasks.answers import final_number, final_yes_no
from blendin_local.tasks.chosen_option import final_choice

# Of the ducks: 16 eggs a day, 3 eaten, 4 baked, the rest sold for $2 each.
DUCKS = [
    # a heading above a whole solution
    (
        "Answer: Janet's ducks lay 16 eggs per day. She eats 3 for breakfast and bakes 4, so she sells "
        "16 - 3 - 4 = 9 eggs. She makes 9 * 2 = $18.",
        18,
    ),
    (
        "**Answer:** To find how much she makes, we subtract: 16 - 7 = 9.\nThen 9 x 2 = 18.\n"
        "She makes $18 every day.",
        18,
    ),
    ("Answer: Janet's ducks lay 16 eggs, so 9 * 2 = $18.", 18),
    ("Answer: She sells 9 eggs for $18.", 18),
    ("Answer:\n\n16 - 3 - 4 = 9\n9 * 2 = 18", 18),
    ("Answer:\nJanet has 16 - 7 = 9 eggs left.\n\nShe sells them at $2 each.\n\nTotal: $18", 18),
    (
        "Answer: Step 1: find the eggs left.\n16 - 7 = 9\nStep 2: multiply by the price.\n9 x 2 = 18",
        18,
    ),
    ("Answer: One way is to subtract first: 16 - 7 = 9, and then 9 x 2 = 18", 18),
    # a heading above the answer
    ("Answer: 18", 18),
    ("Answer: $18", 18),
    ("Answer - 18", 18),
    ("Ans: 18", 18),
    ("**Final Answer:** $18 per day", 18),
    ("**Final Answer:**\n\nJanet makes **$18** every day at the farmers' market.", 18),
    ("Answer: Janet makes $18 every day.", 18),
    ("Answer: $18\n\nExplanation: 16 - 3 - 4 = 9 eggs are left, at $2 each.", 18),
    ("Answer: 18 dollars\n\nJanet's ducks lay 16 eggs, of which she uses 7.", 18),
    ("Answer: She makes $18 a day.\n\n**Explanation:**\n* 16 - 7 = 9 eggs\n* each is sold for $2", 18),
    ("Answer: eighteen dollars", 18),
    ("Answer: Janet makes $18 every day by selling 9 eggs at $2 each.", 18),
    ("Janet makes $18 every day.\n\n**Explanation:**\n* 16 - 7 = 9 eggs * $2 each", 18),
    ("Janet's ducks lay 16 eggs, and 16 - 7 = 9.\n\n**Calculation:** 9 * 2 = 18", 18),
    # sums in a sentence
    ("The answer is 16 - 3 - 4 = 9 eggs, and 9 * 2 = $18.", 18),
    ("The answer is 9 eggs * $2 per egg = $18.", 18),
    ("The answer is that Janet sells 9 eggs and makes $18.", 18),
    ("So the answer is $18, since 16 - 7 = 9 and 9 * 2 = 18.", 18),
    ("The final answer is $18 per day (9 eggs x $2).", 18),
    ("The answer is 9 * 2 = 18, because 16 - 7 = 9.", 18),
    # LaTeX, lists and marks
    ("The final answer is: $\\boxed{18}$", 18),
    ("To solve this, follow these steps:\n\n1. 16 - 3 = 13\n2. 13 - 4 = 9\n3. 9 * 2 = 18", 18),
    ("## Step 1: Eggs that are left\n16 - 7 = 9\n\n## Step 2: Money\n9 * 2 = 18\n\n\\[ \\boxed{18} \\]", 18),
    ("#### Step 1: Subtract the eggs that she uses\n16 - 7 = 9\n#### Step 2: Multiply\n9 * $2 = $18", 18),
    ("Let's break it down:\n\n* **Eggs left:** 16 - 7 = 9\n* **Money:** 9 * $2 = **$18**\n", 18),
    ("She sells 16 - 3 - 4 = <<16-3-4=9>>9 eggs.\nShe makes 9 * 2 = $<<9*2=18>>18.\n#### 18", 18),
    ("Therefore, Janet makes $18.00 every day.", 18),
    # the next question
    ("She makes $18.\n\nA: 5", 18),
    ("She makes $18.\n\nProblem: A robe takes 2 bolts of blue fiber", 18),
    ("She makes $18.\n\nExample 2: Tom has 15 apples.", 18),
    ("She makes $18.\n\n**Problem 2:** Tom has 15 apples.", 18),
    ("She makes $18.\n\n## Exercise 3:\nTom has 15 apples.", 18),
    ("#### 18\n\nQuestion: Tom has 15 apples.\nAnswer: 15", 18),
    ("#### 18\n\n### Question: Tom has 15 apples.", 18),
    ("She makes $18.\n<|im_start|>user\nTom has 15 apples.", 18),
    ("She makes $18.\n[INST] Tom has 15 apples. [/INST]", 18),
    ("She makes $18.\n\nHuman: Tom has 15 apples.", 18),
    ("Q: Janet's ducks lay 16 eggs. How much does she make?\nA: 9 * 2 = 18", 18),
    ("Let's solve this problem:\n\nProblem: Janet's ducks lay 16 eggs.\n\nSolution: 9 * 2 = 18", 18),
    ("I cannot tell.\n\nProblem: Tom has 15 apples.", None),
    ("Let's think step by step. It is none.\n\nProblem: Tom has 15 apples.", None),
    ("A: She makes $18.\n\nQ: Tom has 15 apples.", 18),
    # wrong, and to be read as it is
    ("The answer is 16.", 16),
    ("Janet's ducks lay 16 eggs.", 16),
    ("I cannot tell how much she makes.", None),
]


@pytest.mark.parametrize(("reply", "value"), DUCKS)
def test_numbers(reply: str, value: int | None) -> None:
    found = final_number(reply)
    assert (found.value if found else None) == value


PLANTS = ("roots", "stems", "flowers", "leaves")
KINDS = ("an observation", "a measurement", "an inference", "not a part of science")

CHOICES = [
    ("D", "D"),
    ("D.", "D"),
    ("D. leaves", "D"),
    ("D) leaves", "D"),
    ("(D) leaves", "D"),
    ("**D. leaves**", "D"),
    ("**Answer: D**", "D"),
    ("Answer: D. leaves", "D"),
    ("Answer - D", "D"),
    ("Ans: D", "D"),
    ("The answer is D. leaves.", "D"),
    ("The correct answer is **D**.", "D"),
    ("The correct answer is therefore D.", "D"),
    ("The correct answer is option D: leaves.", "D"),
    ("The correct option is (D) leaves.", "D"),
    ("The final answer is: $\\boxed{D}$", "D"),
    ("I think it's D.", "D"),
    ("I believe the answer would be D, leaves.", "D"),
    ("I'd go with D.", "D"),
    ("I would choose D because they are green.", "D"),
    ("Plants make sugar where the light falls. Therefore, D.", "D"),
    ("Light falls on them, so D.", "D"),
    ("So D.", "D"),
    ("Thus, the best choice is D.", "D"),
    ("D is correct.", "D"),
    ("It's definitely D.", "D"),
    ("The only option that makes sense is D.", "D"),
    ("The answer is 'D'.", "D"),
    ("A. roots: no\nB. stems: no\nC. flowers: no\nD. leaves: yes", "D"),
    ("A. roots: no light\nB. stems: incorrect\nC. flowers: this is not correct\nD. leaves: correct", "D"),
    ("A. roots - no light.\nB. stems - little light.\n\nOption D fits.", "D"),
    ("A. roots: dark\nB. stems: brown\nC. flowers: red\nD. leaves: green", None),
    ("A, B and C are wrong.", None),
    ("D is the correct answer.", "D"),
    ("Option D is the best answer.", "D"),
    ("A is wrong, since roots see no light. D is correct.", "D"),
    ("The answer is not A. It is D.", "D"),
    ("The answer is not roots but leaves.", "D"),
    ("It's not A. It's D.", "D"),
    ("It is D, not A.", "D"),
    ("Not roots, leaves.", "D"),
    ("The answer is leaves, not roots.", "D"),
    ("The answer isn't in the roots. Photosynthesis takes place in the leaves.", "D"),
    ("Let's look at each option:\n\nA. roots\nB. stems\nC. flowers\nD. leaves\n\nThe answer is D.", "D"),
    ("A. roots - no light.\nB. stems - little light.\n\n**Therefore, the correct answer is D.**", "D"),
    ("Photosynthesis takes place in the leaves.", "D"),
    ("D\n\nExplanation: roots (A) and stems (B) have little light.", "D"),
    ("D\n\nQuestion: Where is pollen made?\nA. roots\nAnswer: C", "D"),
    ("It could be A or D.", None),
    ("It is not D.", None),
    ("I don't think it's D.", None),
    ("So A plant makes sugar.", None),
    ("I am not sure.", None),
]


@pytest.mark.parametrize(("reply", "letter"), CHOICES)
def test_choices(reply: str, letter: str | None) -> None:
    assert final_choice(reply, PLANTS) == letter


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("So the answer is an inference., not an observation.", "C"),
        ("It is an inference rather than an observation.", "C"),
        ("It is an observation, not a measurement or an inference.", "A"),
        ("The answer is not a part of science.", "D"),
        ("Smelling is an observation.", "A"),
    ],
)
def test_choices_of_words(reply: str, letter: str) -> None:
    options = KINDS if "science" in reply else KINDS[:3]
    assert final_choice(reply, options) == letter


VERDICTS = [
    ("Yes.", True),
    ("Yes, because the statement is not false.", True),
    ("**Yes**, a hamster can be food for an owl.", True),
    ("No, that is not true.", False),
    ("No. Frogs have no gills.", False),
    ("Answer: Yes", True),
    ("**Answer:** No, it would not.", False),
    (
        "Answer: To see whether this is true, look at what frogs eat. They eat flies. So the answer is yes.",
        True,
    ),
    (
        "Answer: To see whether this is true we have to look at what they eat, and when. None. So no.",
        False,
    ),
    ("The answer is yes.", True),
    ("So the answer is no.", False),
    ("The answer is not yes.", False),
    ("not yes", False),
    ("The statement is true.", True),
    ("The statement isn't true.", False),
    ("The statement is not entirely true.", False),
    ("I don't think that this is true.", False),
    ("It is not false.", True),
    ("This isn't plausible.", False),
    ("This is plausible.", True),
    ("The sentence is implausible.", False),
    ("It is implausible, not plausible.", False),
    ("It is plausible, not implausible.", True),
    ("It isn't implausible.", True),
    ("That is unlikely to be true.", False),
    ("There is no evidence that this is true.", False),
    ("It is not unusual for a player to do that, so it is plausible.", True),
    ("They have not lost and it is true", True),
    ("Lionel Messi plays football. A hat-trick is part of football. So this is plausible.", True),
    ("I can't say.", None),
]


@pytest.mark.parametrize(("reply", "said"), VERDICTS)
def test_verdicts(reply: str, said: bool | None) -> None:
    assert final_yes_no(reply) is said
