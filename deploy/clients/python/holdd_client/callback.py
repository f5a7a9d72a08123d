"""Verifies callbacks as Standard Webhooks describe it."""

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

from .api import Event


class CallbackError(Exception):
    """A callback that holdd did not send, or that is too old. Answer it with 400."""


def verify_callback(
    body: bytes,
    headers: Mapping[str, str],
    secret: str | Sequence[str],
    *,
    tolerance_s: float = 300,
    now: float | None = None,
) -> Event:
    """Returns the event of a callback.

    body is the body as it arrived. secret is callback_secret: whsec_ and base64; give both while it is changed. The
    caller ignores an event whose id it has seen.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        event_id, timestamp = given["webhook-id"], given["webhook-timestamp"]
        signatures = given["webhook-signature"]
    except KeyError as error:
        raise CallbackError(f"missing header {error.args[0]}") from None
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
        raise CallbackError("invalid webhook-timestamp")
    if abs((time.time() if now is None else now) - int(timestamp)) > tolerance_s:
        raise CallbackError("webhook-timestamp is too far from the current time")
    content = f"{event_id}.{timestamp}.".encode() + body
    for one in [secret] if isinstance(secret, str) else secret:
        if _is_signed(content, signatures, one):
            event: Any = json.loads(body)
            if event.get("id") != event_id:
                raise CallbackError("webhook-id is not the id of the event")
            return cast(Event, event)
    raise CallbackError("no signature is valid")


def _is_signed(content: bytes, signatures: str, secret: str) -> bool:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        key = b""
    if len(key) < 16:
        raise ValueError("invalid secret: want whsec_ and base64")
    expected = b"v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256))
    return any(hmac.compare_digest(expected, given.encode()) for given in signatures.split(" ")[:10])
