"""Choose another pair: from the catalogue, from suggestions, or any two models."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.getters import query_one
from textual.widgets import ContentSwitcher, Input, Static

from blendin_local.errors import BlendinError, SettingError
from blendin_local.history.tree import Setup
from blendin_local.llamacpp.header import GgufHeader
from blendin_local.models.available import (
    AvailableModel,
    AvailablePair,
    Inventory,
    Search,
    available_model,
    available_pair,
)
from blendin_local.models.catalogue import Catalogue, load_catalogue
from blendin_local.models.compatibility import Overlap, check_memory, find_overlap, same_vocabulary
from blendin_local.safe_text import sanitize
from blendin_local.settings import ModelOptions, format_model_options, parse_model_options
from blendin_local.tui.bars import bar
from blendin_local.tui.loading import Prepare, Prepared
from blendin_local.tui.pair_text import (
    LOADED,
    MISSING,
    WRONG,
    Knowledge,
    files,
    judgement,
    model_row,
    pair_row,
)
from blendin_local.tui.pulling import Pulling
from blendin_local.tui.screens.dialog import Dialog
from blendin_local.tui.widgets.pick_list import PickList, Row

_ROLES = ("base", "guide")
_POLLS_PER_SECOND = 10
_REST_S = 0.3
"""Time for which the cursor rests on a row before its files are read."""
_BAR = 16
_CATALOGUE, _FOUND = "In the catalogue", "Found on this machine"
_NONE_FOUND = "No more in the folders of blendin, Ollama, LM Studio, llama.cpp and Hugging Face."
_NO_MODELS = "None on this machine yet. Type the path of a .gguf file, or download a pair (F3)."


@dataclass(frozen=True, slots=True)
class PairChoice:
    """Arguments of a `Prepare`: the name of a pair, or of two models; options if they were changed."""

    pair: str = ""
    base: str = ""
    guide: str = ""
    options: ModelOptions | None = None

    def prepare(self, prepare: Prepare) -> Prepared:
        """Prepare the pair. Raises BlendinError."""
        if self.options is None:
            return prepare(self.pair, self.base, self.guide)
        return prepare(self.pair, self.base, self.guide, options=self.options)


class PairsScreen(Dialog[PairChoice | None]):
    """Returns the chosen pair, or None. current: the loaded pair, or None. options: current model options."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Close", priority=True, id="pairs.close"),
        Binding("f3", "turn", "Pairs or any two models", id="pairs.page"),
        Binding("f4", "options", "Options of each model", id="pairs.options"),
    ]

    box = query_one("#pairs", Vertical)
    switcher = query_one(ContentSwitcher)

    def __init__(
        self,
        current: Setup | None,
        prepare: Prepare,
        options: ModelOptions | None = None,
        catalogue: Callable[[], Catalogue] = load_catalogue,
    ) -> None:
        super().__init__()
        self.by_pair = PickList[AvailablePair]("type to search", id="pairs-list")
        self.bases = PickList[AvailableModel]("search, or a path", id="pairs-base", typed=self._typed_row)
        self.guides = PickList[AvailableModel]("search, or a path", id="pairs-guide", typed=self._typed_row)
        self._current = current
        self._prepare = prepare
        self._catalogue = catalogue
        self._search = Search(catalogue, self._names)
        self._stock = Inventory()
        self._options = options or ModelOptions()
        self._knowledge = Knowledge(self._options, None, current.pair if current else "", {})
        self._typed: dict[str, AvailableModel] = {}
        self._pulling: Pulling | None = None
        self._key: object = None
        self._finding = ("", "")
        self._armed = False
        self._note = ""
        self._wrong_option = ""

    @property
    def _names(self) -> tuple[str, ...]:
        return (self._current.base, self._current.guide) if self._current else ()

    def compose(self) -> ComposeResult:
        with Vertical(id="pairs") as box:
            box.border_title = "Models"
            with Horizontal(id="pairs-head"):
                yield Static(id="pairs-pages", markup=False)
                yield Static(id="pairs-state", markup=False)
            with ContentSwitcher(initial="pairs-list"):
                yield self.by_pair
                with Horizontal(id="pairs-models"):
                    self.bases.border_title, self.guides.border_title = "Base", "Guide"
                    yield self.bases
                    yield self.guides
            with VerticalScroll(id="pairs-facts", can_focus=False):
                yield Static(id="pairs-files", markup=False)
                yield Static(id="pairs-about", markup=False)
            with Horizontal(id="pairs-options") as line:
                line.display = bool(self._options.base_options or self._options.guide_options)
                for role in _ROLES:
                    yield Input(
                        format_model_options(getattr(self._options, f"{role}_options")),
                        placeholder=f"{role}: n_ctx=8192 n_gpu_layers=20",
                        id=f"pairs-{role}-options",
                        compact=True,
                    )
            yield Static(id="pairs-says", markup=False)

    def on_mount(self) -> None:
        self._turn_to("pairs-list")
        self._show_rows()
        self.set_interval(1 / _POLLS_PER_SECOND, self._poll)

    def on_unmount(self) -> None:
        self._search.stop()
        if self._pulling:
            self._pulling.cancel()

    # The lists

    def _poll(self) -> None:
        """Show the results of the search and download threads."""
        stock = self._search.inventory
        # A repeated search replaces a complete inventory only when it is complete itself.
        if stock is not self._stock and (stock.whole or not self._stock.whole):
            self._stock = stock
            self._show_rows()
        if self._search.reading:
            state = f"reading {self._search.reading}"
        elif not stock.whole:
            state = "looking for models …"
        else:
            state = f"{len(stock.models)} models on this machine"
        self.query_one("#pairs-state", Static).update(Content(sanitize(state)))
        if self._pulling:
            self._show_pulling(self._pulling)

    def _show_rows(self) -> None:
        stock, known = self._stock, self._knowledge
        self._knowledge = known = replace(known, loaded=stock.loaded)
        rows = [pair_row(pair, _CATALOGUE, known) for pair in stock.pairs]
        loaded = next((row.key for row in rows if known.is_loaded(row.value)), "")
        rows += [pair_row(pair, _FOUND, known) for pair in stock.suggestions]
        looking = "" if stock.whole else "looking …"
        empty = [(_CATALOGUE, self._search.error or looking), (_FOUND, looking or _NONE_FOUND)]
        self.by_pair.show(rows, empty, loaded)
        models = [model_row(model) for model in stock.models]
        for column, name in zip((self.bases, self.guides), self._names or ("", ""), strict=True):
            column.show(models, [("", looking or _NO_MODELS)], name)

    def _typed_row(self, text: str) -> Row[AvailableModel] | None:
        """Return a row for a typed path or source; None for any other text."""
        if not (any(mark in text for mark in "/\\~") or text.endswith(".gguf") or text.startswith("hf:")):
            return None
        model = self._typed.get(text, AvailableModel(text, text))
        return Row(f"typed {text}", model, model_row(model).shown)

    # The highlighted pair

    @property
    def _pair(self) -> AvailablePair | None:
        if self.switcher.current == "pairs-list":
            return self.by_pair.row.value if self.by_pair.row else None
        if self.bases.row is None or self.guides.row is None:
            return None
        return available_pair(self.bases.row.value, self.guides.row.value)

    @on(PickList.Moved)
    def _explain(self) -> None:
        """Describe the highlighted pair, and the effect of Enter."""
        pair = self._pair
        key = pair and (pair.name, pair.base, pair.guide)
        if key != self._key:
            self._key, self._armed, self._note = key, False, ""
        about = judgement(pair, self._knowledge) if pair else Content()
        self.query_one("#pairs-files", Static).update(files(pair) if pair else Content())
        self.query_one("#pairs-about", Static).update(about)
        if pair:
            self._find_out(pair)
        if not self._pulling:
            text, style = self._effect(pair)
            self.query_one("#pairs-says", Static).update(Content.styled(sanitize(text), style))

    def _effect(self, pair: AvailablePair | None) -> tuple[str, str]:
        """Return the effect of Enter as a sentence, and its style."""
        if pair is None:
            return "", ""
        if self._wrong_option:
            return f"{WRONG} {self._wrong_option}", "bold $text-error"
        again = "Enter once more" if self._armed else "Enter"
        if wrong := self._note or pair.problem:
            return f"{WRONG} {wrong}", "bold $text-error"
        if pair.missing:
            names = " ".join([pair.name] if pair.name else [entry.name for entry in pair.missing])
            return (
                f"{MISSING} Not on this machine: {again} downloads it, or run `blendin models pull {names}`.",
                "bold" if self._armed else "",
            )
        if pair.headers is None:
            return "", ""
        if self._is_loaded(pair):
            return f"{LOADED} Loaded now.", ""
        if self._armed:
            return "Press Enter again to load it anyway.", "bold $text-warning"
        return "Enter loads it.", ""

    # Details of the highlighted pair, read when the cursor rests on it

    def _find_out(self, pair: AvailablePair) -> None:
        headers, wanted = pair.headers, ("", "")
        if headers and not same_vocabulary(*headers):
            wanted = headers[0].fingerprint, headers[1].fingerprint
            if wanted not in self._knowledge.overlaps and wanted != self._finding:
                self._count(wanted, headers)
        elif not (headers or pair.missing or pair.problem):
            wanted = pair.base, pair.guide
            if wanted != self._finding:
                self._read(wanted)
        self._finding = wanted

    @work(exclusive=True, group="find out")
    async def _count(self, wanted: tuple[str, str], headers: tuple[GgufHeader, GgufHeader]) -> None:
        """Count the tokens that two vocabularies share."""
        await asyncio.sleep(_REST_S)
        try:
            found: Overlap | str = await asyncio.to_thread(find_overlap, *headers)
        except BlendinError as error:
            found = str(error)
        self._knowledge.overlaps[wanted] = found
        self._explain()

    @work(exclusive=True, group="find out")
    async def _read(self, names: tuple[str, str]) -> None:
        """Read the headers of files whose names were typed."""
        await asyncio.sleep(_REST_S)
        catalogue = await asyncio.to_thread(self._catalogue)
        for name in {*names} - {*self._typed}:
            self._typed[name] = await asyncio.to_thread(available_model, catalogue, name)
        self._show_rows()

    # Picking

    @on(PickList.Picked)
    def _picked(self, message: PickList.Picked) -> None:
        if message.pick_list is self.bases:
            self.guides.focus_field()
        else:
            self._pick_pair()

    def _pick_pair(self) -> None:
        pair = self._pair
        if pair is None or pair.problem or self._wrong_option or self._is_loaded(pair):
            self.app.bell()
        elif pair.missing:
            self._download(pair)
        elif pair.headers:
            known = self._knowledge
            memory = check_memory(pair.headers, known.options_of(pair), known.loaded_headers)
            if self._armed or memory.fits:
                self._choose(pair)
            else:
                self._arm()

    def _arm(self) -> None:
        """Ask for a second Enter."""
        self._armed = True
        self._explain()

    @work(exclusive=True, group="choose")
    async def _choose(self, pair: AvailablePair) -> None:
        choice = PairChoice(pair.name) if pair.name else PairChoice("", pair.base, pair.guide)
        if self._knowledge.changed:
            choice = replace(choice, options=self._knowledge.options)
        try:
            await asyncio.to_thread(choice.prepare, self._prepare)
        except BlendinError as error:
            self._note = str(error)
            self._explain()
        else:
            self.dismiss(choice)

    def _download(self, pair: AvailablePair) -> None:
        if self._pulling:
            self.app.bell()
        elif not self._armed:
            self._arm()
        else:
            self._pulling = Pulling(pair.missing)

    def _show_pulling(self, pulling: Pulling) -> None:
        if pulling.ended:
            self._pulling, self._armed, self._note = None, False, pulling.error
            self._search = Search(self._catalogue, self._names)
            self._explain()
            return
        full, rest = bar(pulling.share, _BAR)
        number = f" of {pulling.total / 1e6:,.0f}" if pulling.total else ""
        activity = "Stopping …" if pulling.cancelled else f"{pulling.doing or pulling.name} · Esc stops"
        line = Content.assemble(
            (full, "$primary"), (rest, "$foreground-disabled"),
            f" {pulling.done / 1e6:,.0f}{number} MB  ", sanitize(activity),
        )  # fmt: skip
        self.query_one("#pairs-says", Static).update(line)

    # Options of each model

    @on(Input.Changed, "#pairs-options Input")
    def _read_options(self) -> None:
        """Parse the typed options of each model, or show the first error."""
        self._wrong_option = ""
        own: dict[str, Any] = {}
        for role in _ROLES:
            typed = self.query_one(f"#pairs-{role}-options", Input).value
            try:
                own[f"{role}_options"] = parse_model_options(typed.split())
            except SettingError as error:
                self._wrong_option = self._wrong_option or f"{role}: {error}"
        if not self._wrong_option:
            self._armed = False
            options = replace(self._options, **own)
            self._knowledge = replace(self._knowledge, options=options, changed=options != self._options)
            self._show_rows()
        self._explain()

    @on(Input.Submitted, "#pairs-options Input")
    def _options_submitted(self) -> None:
        self._pick_pair()

    def _is_loaded(self, pair: AvailablePair) -> bool:
        """Return whether the pair is loaded with these options."""
        return not self._knowledge.changed and self._knowledge.is_loaded(pair)

    # Keys

    def action_options(self) -> None:
        """Show and focus the fields of options, or hide them."""
        line = self.query_one("#pairs-options")
        line.display = not line.display
        if line.display:
            self.query_one("#pairs-base-options").focus()
        else:
            self._focus_list()

    def action_leave(self) -> None:
        """Stop the download, else close."""
        if self._pulling and not self._pulling.cancelled:
            self._pulling.cancel()
        else:
            self.dismiss(None)

    def _focus_list(self) -> None:
        (self.by_pair if self.switcher.current == "pairs-list" else self.bases).focus_field()

    def action_turn(self) -> None:
        self._turn_to("pairs-models" if self.switcher.current == "pairs-list" else "pairs-list")

    def _turn_to(self, page: str) -> None:
        self.switcher.current = page
        by_pair = page == "pairs-list"
        self._focus_list()
        chosen, other = "bold reverse", "$foreground-muted"
        self.query_one("#pairs-pages", Static).update(
            Content.assemble(
                (" Pairs ", chosen if by_pair else other), " ",
                (" Any two models ", other if by_pair else chosen),
            )
        )  # fmt: skip
        keys = "Enter picks · F3 any two models · F4 options · Esc closes"
        self.box.border_subtitle = (
            keys if by_pair else "Enter picks · Tab other list · F3 pairs · F4 options · Esc closes"
        )
        self._explain()
