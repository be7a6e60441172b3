"""Laws of the tree of a conversation, on any tree that a user can make."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blendin_local.engine.prompts import Message
from blendin_local.history.tree import Tree, Turn


@st.composite
def trees(draw: st.DrawFn, least: int = 1) -> Tree:
    """Questions below replies or at the top, replies below questions; some texts blank."""
    tree = Tree()
    for i in range(draw(st.integers(least, 14))):
        parents = [None, *tree.turns]
        parent = draw(st.sampled_from(parents))
        role = "assistant" if parent and not tree.turns[parent].is_reply else "user"
        text = draw(st.sampled_from([f"text {i}", f"text {i}", " "]))
        tree.add(Turn(role, text, parent, id=str(i), created=float(i)))
    if tree.turns:
        tree.select(tree.turns[draw(st.sampled_from(sorted(tree.turns)))])
    return tree


def state(tree: Tree) -> tuple[list[tuple[str, str | None]], str | None, list[str]]:
    order = [(turn.id, turn.parent) for turn in tree.turns.values()]
    return order, tree.leaf, [turn.id for turn in tree.path()]


def any_turn(data: st.DataObject, tree: Tree) -> Turn:
    return tree.turns[data.draw(st.sampled_from(sorted(tree.turns)))]


def assert_sound(tree: Tree) -> None:
    """The path leads from the top to a turn without children, each below the one before."""
    path = tree.path()
    assert all(turn.parent is None or turn.parent in tree.turns for turn in tree.turns.values())
    assert [turn.parent for turn in path] == [None, *(turn.id for turn in path)][: len(path)]
    assert bool(path) == bool(tree.turns)
    if path:
        assert not tree.children(path[-1].id)


@given(trees(), st.data())
def test_restoring_undoes_a_removal(tree: Tree, data: st.DataObject) -> None:
    before = state(tree)
    removals = []
    for _ in range(data.draw(st.integers(1, 3))):
        if tree.turns:
            removals.append(tree.remove(any_turn(data, tree)))
            assert_sound(tree)
    for removal in reversed(removals):
        tree.restore(removal)
    assert state(tree) == before


@given(trees(), st.data())
def test_a_removed_reply_takes_what_follows_and_a_removed_question_lets_it_move_up(
    tree: Tree, data: st.DataObject
) -> None:
    turn = any_turn(data, tree)
    above = {each.id: [t.id for t in tree.upto(each.id)] for each in tree.turns.values()}
    answers = {each.id for each in tree.children(turn.id)}
    tree.remove(turn)
    gone = set(above) - set(tree.turns)
    if turn.is_reply:
        assert gone == {id for id, path in above.items() if turn.id in path}
    else:
        assert gone == {turn.id, *answers}
    for id in tree.turns:
        assert [t.id for t in tree.upto(id)] == [t for t in above[id] if t not in gone]


@given(trees(), st.data())
def test_selecting_leads_through_a_turn_and_coming_back_finds_the_old_end(
    tree: Tree, data: st.DataObject
) -> None:
    leaf = tree.leaf
    turn = any_turn(data, tree)
    way = [each.id for each in tree.upto(turn.id)]
    tree.select(turn)
    assert [each.id for each in tree.path()][: len(way)] == way
    assert_sound(tree)
    # Back at the fork, the branch that was left leads to its old end.
    forks = [each for each in tree.upto(leaf) if each.parent == turn.parent and each is not turn]
    if forks:
        tree.select(forks[0])
        assert tree.leaf == leaf


@given(trees())
def test_siblings_share_a_parent_and_stand_in_the_order_of_their_creation(tree: Tree) -> None:
    for turn in tree.turns.values():
        siblings = tree.siblings(turn)
        assert turn in siblings
        assert {each.parent for each in siblings} == {turn.parent}
        assert all(a.created < b.created for a, b in pairwise(siblings))
    assert sum(len(tree.children(id)) for id in (None, *tree.turns)) == len(tree.turns)


@given(trees(), st.sampled_from(["", " ", "Be brief."]), st.data())
def test_messages_alternate_and_end_with_the_turn(tree: Tree, system: str, data: st.DataObject) -> None:
    turn = any_turn(data, tree)
    messages = tree.messages(turn.id, system)
    roles = [message.role for message in messages if message.role != "system"]
    assert all(a != b for a, b in pairwise(roles))
    assert (messages[:1] == (Message("system", system),)) == bool(system.strip())
    if not turn.is_reply:
        assert messages[-1] == Message("user", turn.text)
    assert not any(m.role == "assistant" and not m.content.strip() for m in messages)


def test_a_tree_takes_turns_in_any_order_and_finds_an_end_where_none_is_given() -> None:
    first, second, other = (
        Turn("user", "a", id="a", created=1.0),
        Turn("assistant", "b", "a", "b", 2.0),
        Turn("assistant", "c", "a", "c", 3.0),
    )
    tree = Tree([other, second, first], leaf="gone")
    assert [turn.id for turn in tree.path()] == ["a", "c"]
    assert tree.siblings(other) == [second, other]
    assert Tree().path() == []


def test_a_turn_below_an_unknown_one_is_refused() -> None:
    tree = Tree()
    with pytest.raises(ValueError, match="parent"):
        tree.add(Turn("user", "a", parent="gone"))
    assert not tree.turns
