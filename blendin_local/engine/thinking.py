"""Choose the prompt formats of a pair, so that both models begin a reply alike: thinking, or answering."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from blendin_local.engine.pair import Role
from blendin_local.engine.prompts import Message, PromptFormat, choose_format, opens_thinking, render_messages
from blendin_local.errors import PromptError
from blendin_local.formats import Formats
from blendin_local.templates.messages import Rendering
from blendin_local.templates.thinking_marks import SWITCHES, switches_of

__all__ = ["answering", "choose_formats", "match_thinking", "silenced_model"]


def choose_formats(formats: Formats, templates: Mapping[Role, str | None]) -> dict[Role, PromptFormat]:
    """Return the prompt format of each model, thinking or not as `formats` says.

    templates: the chat templates of the models' files. Raises PromptError for a format that does not fit a
    model.
    """
    return match_thinking(_chosen(formats, templates), formats.thinking)


def silenced_model(formats: Formats, templates: Mapping[Role, str | None]) -> Role | None:
    """Return the model that does not think because the other one cannot; None without one."""
    return _silenced_role(_chosen(formats, templates), formats.thinking)


def _chosen(formats: Formats, templates: Mapping[Role, str | None]) -> dict[Role, PromptFormat]:
    chosen: dict[Role, PromptFormat] = {}
    for role, template in templates.items():
        form, variables = choose_format(getattr(formats, role), template), formats.variables(role)
        chosen[role] = replace(form, variables=variables) if variables else form
    return chosen


def match_thinking(formats: Mapping[Role, PromptFormat], thinking: str) -> dict[Role, PromptFormat]:
    """Return prompt formats with which all models think, or none does. thinking: one of `formats.THINKING`.

    A variable with which the user turns a model's thinking on or off is left as it is.
    """
    silenced = _silenced_role(formats, thinking)
    if thinking == "off":
        return {role: _silent(form) for role, form in formats.items()}
    if silenced:
        return {role: _silent(form) if role == silenced else form for role, form in formats.items()}
    formats = {role: _switched(form, True) if thinking == "on" else form for role, form in formats.items()}
    if len(formats) == 2 and all(form.marks for form in formats.values()):
        opened = {role for role, form in formats.items() if _opens(form)}
        if len(opened) == 1:
            # The other model would open its thinking itself, which this template does for its own.
            return {role: form if role in opened else _opened(form) for role, form in formats.items()}
    return dict(formats)


def _silenced_role(formats: Mapping[Role, PromptFormat], thinking: str) -> Role | None:
    thinkers: list[Role] = [role for role, form in formats.items() if form.marks]
    if thinking != "auto" or len(formats) < 2 or len(thinkers) != 1:
        return None
    return None if _user_switches(formats[thinkers[0]]) else thinkers[0]


def _user_switches(form: PromptFormat) -> bool:
    return any(name in form.variables for name in SWITCHES)


def _switched(form: PromptFormat, value: bool) -> PromptFormat:
    """Set the variables of thinking that the template reads, unless the user set them."""
    if _user_switches(form):
        return form
    switches = dict.fromkeys(switches_of(form.template), value)
    return replace(form, variables={**form.variables, **switches}) if switches else form


def _silent(form: PromptFormat) -> PromptFormat:
    """Return a format whose replies begin with the answer."""
    marks = form.marks
    if marks is None or _user_switches(form):
        return form
    off, on = _switched(form, False), _switched(form, True)
    prompt = _sample_prompt(off)
    if _opens(off):
        return replace(off, head=marks.end)
    if marks.left_closed_by(prompt.text) or prompt != _sample_prompt(on):
        return off
    return replace(off, head=marks.nothing)


def _opens(form: PromptFormat) -> bool:
    """Return whether a reply begins inside the thinking."""
    return opens_thinking(form, _sample_prompt(form))


def answering(form: PromptFormat) -> PromptFormat:
    """Return a format for a reply that is continued in its answer, and has no thinking before it."""
    return replace(form, head=form.head + form.marks.end) if form.marks and _opens(form) else form


def _opened(form: PromptFormat) -> PromptFormat:
    marks = form.marks
    closed = marks is None or marks.left_closed_by(_sample_prompt(form).text)
    return form if marks is None or closed else replace(form, head=marks.head)


@lru_cache(maxsize=64)
def _sample_prompt(form: PromptFormat) -> Rendering:
    """Return a prompt of the template; an empty one where it fails."""
    try:
        return render_messages(form, [Message("user", "A question")], {"bos_token": "", "eos_token": ""})
    except PromptError:
        return Rendering("", [])
