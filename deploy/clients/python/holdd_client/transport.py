"""Sends requests to holdd, and repeats those that got no answer or were told to wait."""

import http.client
import json
import random
import re
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import IO, Any
from urllib.parse import urlencode

FIRST_DELAY_S = 0.25
MAX_DELAY_S = 8.0
# A longer Retry-After is the caller's decision.
MAX_RETRY_AFTER_S = 60
# The three forms of a date in RFC 9110. That of asctime has no zone and means GMT.
_HTTP_DATE = re.compile(
    r"[A-Z][a-z]+, .* GMT|[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}", re.ASCII
)
MAX_RESPONSE_BYTES = 16 << 20
RETRIED_STATUSES = frozenset({429, 502, 503, 504})
# Answers that say nothing of an earlier request with the same key.
UNDECIDED_STATUSES = frozenset({401, 403, 408, 429})
UNDECIDED_CODES = frozenset({"in_progress", "unexpected_response", "unreachable"})


class HolddError(Exception):
    """A request that did not succeed. Branch on code. status is 0 without an answer."""

    def __init__(self, status: int, problem: Mapping[str, Any] | None) -> None:
        self.status = status
        self.problem = problem or {}
        self.code: str = self.problem.get("code", "unexpected_response")
        # What happened and what to do, for people.
        self.detail: str = self.problem.get("detail", f"unexpected response with status {status}")
        super().__init__(f"{self.code}: {self.detail}")

    @property
    def outcome_unknown(self) -> bool:
        """Whether the request may have taken effect or may still do so, in this or in an earlier call.

        Repeat it with the same idempotency_key. If it is False, holdd has decided the request.
        """
        return self.status >= 500 or self.status in UNDECIDED_STATUSES or self.code in UNDECIDED_CODES


class UnreachableError(HolddError):
    """holdd gave no readable answer. A request that changes something may have taken effect."""

    def __init__(self, detail: str) -> None:
        super().__init__(0, {"code": "unreachable", "detail": detail})


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would send the token to another server."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> None:
        return None


class Transport:
    """Sends one request after the other. It uses no proxy, because a proxy would see the token."""

    def __init__(
        self, base_url: str, token: str | None = None, *, max_attempts: int = 4, timeout_s: float = 30.0
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ValueError(f"invalid base_url {base_url!r}: want http:// or https://")
        self._base_url = base_url.rstrip("/")
        self._token = token
        self._max_attempts = max(1, max_attempts)
        self._timeout_s = timeout_s
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str | None] | None = None,
        body: Any = None,
    ) -> Any:
        """Returns the decoded answer. A POST without an Idempotency-Key gets one, so that it takes effect once."""
        request = self._new_request(method, path, query or {}, headers or {}, body)
        # A change with If-Match would be told that it is outdated by its own first attempt.
        attempts = 1 if method == "PATCH" and request.has_header("If-match") else self._max_attempts
        for attempt in range(1, attempts + 1):
            delay = random.uniform(0, min(MAX_DELAY_S, FIRST_DELAY_S * 2**attempt))
            try:
                with self._opener.open(request, timeout=self._timeout_s) as response:
                    return _decode(response)
            except urllib.error.HTTPError as error:
                with error:
                    problem = _read_problem(error)
                wait = _retry_delay(error.code, error.headers.get("Retry-After"), delay)
                if wait is None or attempt == attempts:
                    raise HolddError(error.code, problem) from None
                delay = wait
            except (OSError, http.client.HTTPException, ValueError) as error:
                if attempt == attempts:
                    raise UnreachableError(f"holdd at {self._base_url} does not answer: {error}") from error
            time.sleep(delay)
        raise AssertionError("unreachable")

    def _new_request(
        self, method: str, path: str, query: Mapping[str, Any], headers: Mapping[str, str | None], body: Any
    ) -> urllib.request.Request:
        pairs: list[tuple[str, str]] = []
        for name, value in query.items():
            if isinstance(value, Mapping):
                pairs += [(f"{name}[{key}]", item) for key, item in value.items()]  # pyright: ignore
            elif value is not None:
                pairs.append((name, str(value).lower() if isinstance(value, bool) else str(value)))
        url = self._base_url + path + ("?" + urlencode(pairs) if pairs else "")
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, method=method, headers={"Accept": "application/json"})
        if data is not None:
            request.add_header("Content-Type", "application/json")
        if self._token:
            request.add_header("Authorization", "Bearer " + self._token)
        for name, value in headers.items():
            if value is not None:
                request.add_header(name, value)
        if method == "POST" and not request.has_header("Idempotency-key"):
            request.add_header("Idempotency-Key", str(uuid.uuid4()))
        return request


def _decode(response: http.client.HTTPResponse) -> Any:
    text = response.read(MAX_RESPONSE_BYTES + 1)
    if len(text) > MAX_RESPONSE_BYTES:
        raise ValueError(f"the answer is larger than {MAX_RESPONSE_BYTES} bytes")
    return json.loads(text)


def _read_problem(error: urllib.error.HTTPError) -> Mapping[str, Any] | None:
    try:
        problem = json.loads(error.read(MAX_RESPONSE_BYTES))
    except (OSError, http.client.HTTPException, ValueError):
        return None
    return problem if isinstance(problem, dict) and "code" in problem else None  # pyright: ignore


def _retry_delay(status: int, retry_after: str | None, delay: float) -> float | None:
    """Returns how long to wait before a repetition; None: the answer is final."""
    seconds = _parse_retry_after(retry_after)
    # Of the conflicts, in_progress alone says when to come back.
    if status not in RETRIED_STATUSES and not (status == 409 and seconds is not None):
        return None
    if seconds is None:
        return delay
    return None if seconds > MAX_RETRY_AFTER_S else max(delay, seconds)


def _parse_retry_after(header: str | None) -> float | None:
    """Returns the seconds of a Retry-After, which has seconds or a date; None: it has neither."""
    if header is None:
        return None
    if header.isdecimal():
        return int(header)
    if not _HTTP_DATE.fullmatch(header):
        return None
    try:
        date = parsedate_to_datetime(header).replace(tzinfo=UTC)
    except ValueError:
        return None
    return max(0.0, date.timestamp() - time.time())
