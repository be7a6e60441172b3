"""The state of a chat that outlives its screen: the models, the conversation, and what is kept of it."""

from __future__ import annotations

from pathlib import Path

from blendin_local.engine.chat_backend import ChatBackend
from blendin_local.engine.steps import Step
from blendin_local.history.dialogue import Dialogue
from blendin_local.history.journal import Journal
from blendin_local.history.store import SavedConversation, Store
from blendin_local.preferences.preferences import Preferences
from blendin_local.settings import ModelOptions
from blendin_local.tui.loading import Prepare, Prepared
from blendin_local.tui.prompt_history import PromptHistory
from blendin_local.tui.worker import ModelWorker, ReplyBegun, ReplyEnded

_QUIT_TIMEOUT_S = 20.0
"""How long quitting waits for the models' thread: a decode stops in its middle, a load does not always."""


class ChatSession:
    """Owns the models' thread, the journal and the conversation.

    prepared: the pair that is loaded, or being loaded for the first time. prepare: prepares others.
    preferences: the user's. store: where conversations are kept; None keeps none. history: a file for what
    was typed. options: how models are opened at the start, for estimates. changed_options: those that were
    chosen since, or None. seed: of the first reply; None draws one. resume: the conversation to go on with.
    backend: the loaded models, None before.
    """

    def __init__(
        self,
        prepared: Prepared,
        prepare: Prepare,
        *,
        preferences: Preferences | None = None,
        store: Store | None = None,
        history: Path | None = None,
        options: ModelOptions | None = None,
        seed: int | None = None,
        resume: SavedConversation | None = None,
    ) -> None:
        self.prepared = prepared
        self.prepare = prepare
        self.preferences = preferences or Preferences()
        self.store = store
        self.options = options or ModelOptions()
        self.changed_options: ModelOptions | None = None
        self.prompt_history = PromptHistory(history)
        self.worker = ModelWorker()
        self.backend: ChatBackend | None = None
        self.journal = Journal(store)
        self.dialogue = Dialogue(
            prepared.setup,
            self.journal,
            steps_of=store.load_steps if store else lambda id: [],
            seed=seed,
            candidates=self.preferences.chat.candidates,
        )
        if resume:
            self.dialogue.resume(resume, prepared.setup)

    def close(self) -> None:
        """Free the models, and keep what they have written by then."""
        self.worker.close()
        self.dialogue.checkpoint()
        self.worker.join(_QUIT_TIMEOUT_S)
        self._take_last_events()
        self.journal.close()

    def _take_last_events(self) -> None:
        """Keep what the models' thread wrote since the screen last looked."""
        events = self.worker.events
        while events and self.dialogue.reply is not None:
            match events.popleft():
                case ReplyBegun(reply) if self.backend is not None:
                    self.dialogue.start_reply(reply, self.backend)
                case Step() as step:
                    self.dialogue.append_steps([step])
                case ReplyEnded(text, reason, error):
                    self.dialogue.end(text, reason, error)
        self.dialogue.checkpoint()
