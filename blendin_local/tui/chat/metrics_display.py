"""Show the metrics of a reply in the panel and the status line, and the legend of the colours."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import psutil

from blendin_local.history.tree import Turn
from blendin_local.presentation.explanation import weak_passages
from blendin_local.tui.chat.conversation_view import ConversationView
from blendin_local.tui.chat.reply_controller import ReplyController
from blendin_local.tui.chat.session import ChatSession
from blendin_local.tui.entry import View
from blendin_local.tui.loading import model_name
from blendin_local.tui.metrics import PanelMetrics, ReplyMetrics, Totals
from blendin_local.tui.widgets.panel import Panel
from blendin_local.tui.widgets.status_line import StatusLine


@dataclass(eq=False)
class MetricsDisplay:
    """Shows the metrics of the reply being written, else of the selected one, else of the last one."""

    session: ChatSession
    replies: ReplyController
    conversation: ConversationView
    panel: Panel
    status: StatusLine
    _cached: tuple[Turn, ReplyMetrics, list[range]] | None = None
    _memory: tuple[float, int] = (-1.0, 0)
    """(monotonic time of the reading, resident bytes)."""

    def show(self) -> None:
        turn, metrics, passages = self._shown_reply()
        pointer = self.conversation.transcript.pointer
        setup = (turn.setup if turn else None) or self.session.dialogue.setup
        backend = self.session.backend
        shown = PanelMetrics(
            replace(
                self.session.prepared.about,
                base=model_name(setup.base),
                guide=model_name(setup.guide),
                pair=setup.pair,
                blend=setup.settings.blend,
            ),
            metrics,
            Totals.of(reply.summary for reply in self.session.dialogue.replies),
            calibrated=turn.calibrated if turn else backend is not None and backend.calibrated,
            context_use=backend.context_use() if backend else {},
            memory=self._memory_bytes(),
            hint_rate=self.session.preferences.chat.hint_rate,
            weak_passages=len(passages),
            weak_at=next((i for i, each in enumerate(passages) if pointer in each), None),
        )
        self.panel.show(shown)
        self.status.show_progress(shown, self._branch_of(turn))

    def show_legend(self) -> None:
        """Show the legend of the colours in the panel, and in the status line if tokens are shown."""
        conversation = self.conversation
        tokens = self.replies.phase.is_writing or conversation.view is View.TOKENS
        self.status.show_colours(conversation.colours if tokens else None)
        self.panel.show_colours(conversation.colours)

    def _shown_reply(self) -> tuple[Turn | None, ReplyMetrics, list[range]]:
        if (live := self.replies.live_metrics) is not None:
            turn = self.session.dialogue.reply
            return turn, live, weak_passages(turn.steps) if turn else []
        turn = self.conversation.selected_or_last_reply
        if turn is None:
            return None, ReplyMetrics(), []
        cached = self._cached
        if cached is None or cached[0] is not turn or len(turn.steps) != cached[1].summary.steps:
            metrics = ReplyMetrics(turn.summary)
            metrics.add(self.session.dialogue.steps(turn))
            self._cached = cached = turn, metrics, weak_passages(turn.steps)
        return cached

    def _memory_bytes(self) -> int:
        """Return the resident bytes of the process, read at most once a second."""
        now = time.monotonic()
        if now - self._memory[0] >= 1:
            self._memory = now, psutil.Process().memory_info().rss
        return self._memory[1]

    def _branch_of(self, turn: Turn | None) -> tuple[int, int]:
        siblings = self.session.dialogue.tree.siblings(turn) if turn else []
        return (siblings.index(turn) + 1, len(siblings)) if turn in siblings else (1, 1)
