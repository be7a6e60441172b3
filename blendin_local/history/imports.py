"""Import a conversation that was exported as JSON."""

from __future__ import annotations

from pathlib import Path

from blendin_local.errors import HistoryError
from blendin_local.files import read_text
from blendin_local.history.document import read_json
from blendin_local.history.store import SavedConversation, Store
from blendin_local.history.tree import Setup, Tree, new_id
from blendin_local.safe_text import sanitize

__all__ = ["import_file", "load"]

_LONGEST = 1 << 30


def import_file(path: Path, store: Store) -> str:
    """Store the conversation of a JSON file as a new one, in one transaction; return its id.

    It gets new ids, so it can be imported repeatedly. Raises HistoryError.
    """
    title, setup, tree = load(path)
    id = new_id()
    store.add(SavedConversation(id, title, setup, _assign_new_ids(tree)))
    return id


def load(path: Path) -> tuple[str, Setup, Tree]:
    """Return title, setup and tree of an exported conversation. Raises HistoryError."""
    name = sanitize(str(path))
    try:
        document = read_text(path, longest=_LONGEST)
    except FileNotFoundError as error:
        raise HistoryError(f"{name} cannot be read: it does not exist.") from error
    except ValueError as error:
        raise HistoryError(
            f"{name} cannot be read: {error}. Conversations are read as they were exported, as JSON."
        ) from error
    return read_json(document, name)


def _assign_new_ids(tree: Tree) -> Tree:
    """Assign new ids to all turns; a `forked_from` that is not in the tree becomes None."""
    ids = {id: new_id() for id in tree.turns}
    for turn in tree.turns.values():
        turn.id = ids[turn.id]
        turn.parent = ids.get(turn.parent or "")
        turn.forked_from = ids.get(turn.forked_from or "")
    return Tree(tree.turns.values(), ids.get(tree.leaf or ""))
