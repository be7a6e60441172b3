"""OpenAI's batch format: request lines to rows, results to output lines, and output lines back to results.

Fields of a result that the format lacks stand in an output line under "blendin".
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from typing import Any

from blendin_local.batch.results import Result
from blendin_local.batch.rows import BadRow, Row, own_settings
from blendin_local.engine.prompts import Message
from blendin_local.errors import BatchError, PromptError, SettingError
from blendin_local.inputs.messages import (
    id_of,
    kind_of,
    messages_of,
    prompt_of,
    settings_of,
    with_system,
)
from blendin_local.settings import BlendSettings, GenerationSettings, SamplingSettings, setting_names

__all__ = ["CHAT", "COMPLETIONS", "batch_line", "is_request", "request_row", "result_of"]

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"

_SETTINGS = {
    *setting_names(BlendSettings),
    *setting_names(SamplingSettings),
    "max_tokens",
    "seed",
    "stop",
}
"""Settings read from a body: OpenAI's names, and names of other servers (top_k, min_p)."""

_IGNORED = {
    "model",
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "parallel_tool_calls",
    "max_completion_tokens",
    "messages",
    "prompt",
}
"""Keys that do not change an answer, or are read elsewhere."""

_WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "stream": (False,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "echo": (False,),
    "suffix": ("",),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}
"""Keys of unsupported features, with the values that do not request the feature."""

_FINISHED = {
    "stop": "stop",
    "stop string": "stop",
    "length": "length",
    "context": "length",
    "cancelled": "length",
}


def is_request(document: Any) -> bool:
    """Whether a JSON value is a request line of this format."""
    return isinstance(document, dict) and "custom_id" in document and "body" in document


def request_row(document: Any, index: int, where: str, run: GenerationSettings, system: str) -> Row | BadRow:
    """Build the row of a request line. system: system prompt of conversations without one.

    A completions request is raw text to continue, without a system prompt and without guide stop.
    """
    id = f"row-{index + 1}"
    try:
        if not isinstance(document, dict):
            raise PromptError(f"A request must be a JSON object, not {kind_of(document)}.")
        id = id_of(document.get("custom_id"), "custom_id") or id
        if "custom_id" not in document or document["custom_id"] is None:
            raise PromptError("The request has no `custom_id`.")
        body = document.get("body")
        if not isinstance(body, dict):
            raise PromptError(f"`body` must be an object, not {kind_of(body)}.")
        raw = _url(document, body) == COMPLETIONS
        if raw:
            messages = _raw_prompt(body)
            run = replace(run, blend=replace(run.blend, guide_stop=False))
        else:
            messages = with_system(messages_of(body.get("messages"), "messages"), system)
        own = _read_settings(body)
        settings = own_settings(run, own, id)
    except (PromptError, SettingError) as error:
        return BadRow(id, index, where, str(error))
    return Row(id, index, where, messages, settings, own, raw)


def _url(document: dict[str, Any], body: dict[str, Any]) -> str:
    if document.get("method") not in (None, "POST"):
        raise PromptError("`method` must be POST.")
    url = document.get("url")
    if url is None:
        return COMPLETIONS if "messages" not in body and "prompt" in body else CHAT
    if url not in (CHAT, COMPLETIONS):
        raise PromptError(f"`url` must be {CHAT} or {COMPLETIONS}.")
    return str(url)


def _raw_prompt(body: dict[str, Any]) -> tuple[Message, ...]:
    prompt = body.get("prompt")
    if isinstance(prompt, list):
        if len(prompt) != 1 or not isinstance(prompt[0], str):
            raise PromptError("`prompt` must be one text: make a request of each, and send no token numbers.")
        prompt = prompt[0]
    return prompt_of(prompt, "prompt")


def _read_settings(body: dict[str, Any]) -> dict[str, Any]:
    for name, value in body.items():
        if value is None or name in _SETTINGS or name in _IGNORED:
            continue
        if name not in _WITHOUT_EFFECT:
            raise SettingError(f"{name[:40]!r} is not supported: leave it out.")
        # By type too, because 1 == True.
        if not any(type(value) is type(none) and value == none for none in _WITHOUT_EFFECT[name]):
            raise SettingError(f"{name} is not supported with this value: leave it out.")
    own = settings_of({name: body[name] for name in body if name in _SETTINGS})
    if body.get("max_completion_tokens") is not None:
        own["max_tokens"] = body["max_completion_tokens"]
    return own


def batch_line(result: Result) -> dict[str, Any]:
    """Build the output line of a result. Its ids derive from the result; `created` is the current time.

    The line of a failed row has no response, but an error with `code` (the kind) and `message`.
    """
    failure = result["error"]
    named = [str(result[name]) for name in ("run", "row", "id", "index")]
    digits = hashlib.sha256("\0".join(named).encode()).hexdigest()
    kept = ("id",) if failure else ("id", "text")
    line: dict[str, Any] = {
        "id": f"batch_req_{digits[:32]}",
        "custom_id": result["id"],
        "response": None,
        "error": None,
        "blendin": {name: value for name, value in result.items() if name not in kept},
    }
    if failure:
        line["error"] = {"code": failure["kind"].replace(" ", "_"), "message": failure["message"]}
    else:
        body = _completion(result, digits[32:])
        line["response"] = {"status_code": 200, "request_id": digits[32:], "body": body}
    return line


def _completion(result: Result, digits: str) -> dict[str, Any]:
    is_chat = not result.get("raw")
    said: dict[str, Any] = {"text": result["text"]}
    if is_chat:
        said = {"message": {"role": "assistant", "content": result["text"], "refusal": None}}
    finish_reason = _FINISHED[result["finish_reason"]]
    # The base generates, unless the guide ran alone.
    usage = result["usage"]["base"]
    if not usage["prompt_tokens"]:
        usage = result["usage"]["guide"]
    n_prompt, n_written = usage["prompt_tokens"], usage["generated_tokens"]
    return {
        "id": f"{'chatcmpl' if is_chat else 'cmpl'}-{digits}",
        "object": "chat.completion" if is_chat else "text_completion",
        "created": int(time.time()),
        "model": " + ".join(model["name"] for model in result["models"].values() if model),
        "choices": [{"index": 0, **said, "logprobs": None, "finish_reason": finish_reason}],
        "usage": {
            "prompt_tokens": n_prompt,
            "completion_tokens": n_written,
            "total_tokens": n_prompt + n_written,
        },
        "system_fingerprint": f"fp_{result['run']}",
    }


def result_of(line: Any) -> Result:
    """Restore the result of an output line. Raises BatchError, without a line number, for other content."""
    try:
        result: Result = {"id": line["custom_id"], **line["blendin"]}
        if not isinstance(result["id"], str):
            raise TypeError
        if line["response"] is not None:
            choice = line["response"]["body"]["choices"][0]
            result["text"] = choice["message"]["content"] if "message" in choice else choice["text"]
    except (LookupError, TypeError) as error:
        raise BatchError("This is not a line that Blendin wrote in OpenAI's batch format.") from error
    return result
