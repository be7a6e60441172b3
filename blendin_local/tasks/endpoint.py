"""A judge behind an OpenAI-compatible endpoint, such as OpenAI's or llama.cpp's server."""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import urlsplit

from blendin_local.errors import EvaluationError
from blendin_local.files import parse_json
from blendin_local.tasks.judge import JUDGE_TOKENS

__all__ = ["OpenAiJudge"]

_TEMPORARY = (408, 409, 425, 429)
_LONGEST_PAUSE_S = 60.0
_LARGEST_ANSWER = 16 << 20
_BROKEN = (urllib.error.URLError, ConnectionError, TimeoutError, http.client.HTTPException)


class _Again(Exception):
    """A request that may succeed if repeated, after the number of seconds that the server gave, if any."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, which would send the key to another server and turn the POST into a GET."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirects)


@dataclass(slots=True)
class OpenAiJudge:
    """A judge behind an endpoint.

    url: up to "/v1". key_variable: the environment variable of the API key; without a value no key is sent,
    as local servers expect. Retries with delays that double from `pause_s` while the server is busy or the
    connection fails.
    """

    url: str
    model: str
    key_variable: str = "OPENAI_API_KEY"
    timeout_s: float = 120.0
    attempts: int = 5
    pause_s: float = 1.0
    sleep: Callable[[float], None] = time.sleep
    _extras: dict[str, Any] = field(
        default_factory=lambda: {
            "temperature": 0,
            "max_tokens": JUDGE_TOKENS,
            "response_format": {"type": "json_object"},
        },
        init=False,
        repr=False,
    )

    def __post_init__(self) -> None:
        """Raises EvaluationError for an invalid URL."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise EvaluationError(f"The judge's URL must begin with http:// or https://, not {self.url!r}.")
        if parts.username or parts.password:
            raise EvaluationError(f"The judge's URL must hold no key: put it into {self.key_variable}.")

    @property
    def name(self) -> str:
        return self.model

    def ask(self, question: str) -> str:
        """Return the judge's reply. Raises EvaluationError, without the key in its message."""
        reason, tried = "", 0
        while tried < self.attempts:
            try:
                return self._ask_once(question)
            except _Again as again:
                reason, tried = str(again), tried + 1
                pause = again.after_s if again.after_s is not None else self.pause_s * 2 ** (tried - 1)
                if tried < self.attempts:
                    self.sleep(min(pause, _LONGEST_PAUSE_S))
        self._fail(f"{reason}, {self.attempts} times; try again later")

    def _ask_once(self, question: str) -> str:
        body = {"model": self.model, "messages": [{"role": "user", "content": question}], **self._extras}
        request = urllib.request.Request(
            self.url.rstrip("/") + "/chat/completions",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "User-Agent": "blendin-local"},
        )
        if key := self._key():
            request.add_header("Authorization", f"Bearer {key}")
        try:
            with _opener.open(request, timeout=self.timeout_s) as response:
                answer = response.read(_LARGEST_ANSWER)
        except urllib.error.HTTPError as error:
            with error:
                return self._handle_refusal(error, question)
        except _BROKEN as error:
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            raise _Again(f"cannot be reached ({self._safe(str(cause)) or type(cause).__name__})") from None
        return self._content(answer)

    def _handle_refusal(self, error: urllib.error.HTTPError, question: str) -> str:
        """Handle an error response: retry, retry with fewer parameters, or fail."""
        if error.code in _TEMPORARY or error.code >= 500:
            raise _Again(
                f"answers with an error ({error.code} {error.reason})", _retry_after(error)
            ) from None
        said = self._safe(_message(error.read(_LARGEST_ANSWER)))
        if error.code in (400, 422) and (unknown := self._unknown(said)):
            # Optional parameters that some servers and models reject.
            del self._extras[unknown]
            if unknown == "max_tokens":
                self._extras["max_completion_tokens"] = JUDGE_TOKENS
            return self._ask_once(question)
        if error.code in (401, 403):
            has = "is refused" if self._key() else "is not set"
            self._fail(f"needs an API key ({error.code}), and the one in {self.key_variable} {has}")
        if 300 <= error.code < 400:
            self._fail(f"redirects to another address ({error.code}): use that one")
        if error.code == 404:
            self._fail(f"has no model {self.model} or no {self.url.rstrip('/')}/chat/completions (404)")
        self._fail(f"refuses the request ({error.code}{': ' + said if said else ''})")

    def _unknown(self, said: str) -> str:
        """Return the optional parameter that a server's error message rejects, or ""."""
        return next((name for name in self._extras if name in said), "")

    def _content(self, answer: bytes) -> str:
        try:
            content = parse_json(answer)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError):
            self._fail("does not answer as an OpenAI-compatible endpoint does")
        return content if isinstance(content, str) else ""

    def _key(self) -> str:
        return os.environ.get(self.key_variable, "").strip()

    def _safe(self, text: str) -> str:
        """Text of a server on one line, with the key removed."""
        text = " ".join(text.split())[:200].rstrip(".")
        return text.replace(key, "***") if (key := self._key()) else text

    def _fail(self, what: str) -> NoReturn:
        raise EvaluationError(f"The judge at {urlsplit(self.url).netloc} {what}.")


def _retry_after(error: urllib.error.HTTPError) -> float | None:
    try:
        return max(0.0, float(error.headers.get("Retry-After", "")))
    except ValueError:
        return None


def _message(body: bytes) -> str:
    """Return the server's error message, in OpenAI's form or any other."""
    try:
        found = parse_json(body)["error"]
    except (ValueError, LookupError, TypeError):
        return ""
    return str(found.get("message", "")) if isinstance(found, dict) else str(found)
