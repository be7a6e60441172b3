"""State of a chat that is independent of its screen: models, conversation, saved history."""

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
"""Time to wait for the models' thread when quitting: a decode can be interrupted, a load not always."""


class ChatSession:
    """Owns the models' thread, the journal and the conversation.

    prepared: the pair that is loaded or loading. prepare: prepares other pairs. store: saves conversations,
    None saves none. history: file of sent messages. options: model options of the start, for memory
    estimates. changed_options: options chosen since then, or None. seed: of the first reply, None draws one.
    resume: a saved conversation to continue. backend: the loaded models, or None.
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
        """Free the models, and save the reply under way."""
        self.worker.close()
        self.dialogue.checkpoint()
        self.worker.join(_QUIT_TIMEOUT_S)
        self._take_last_events()
        self.journal.close()

    def _take_last_events(self) -> None:
        """Save the steps that the models' thread has written since the screen last polled it."""
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
