"""A typed client of holdd's API. It needs only the standard library."""

from collections.abc import Iterator
from typing import Any

from .api import Authorization, AuthorizeRequest, Event, Hold, Operations, ScheduleRequest
from .callback import CallbackError, verify_callback
from .transport import HolddError, Transport, UnreachableError

__all__ = [
    "Authorization",
    "AuthorizeRequest",
    "CallbackError",
    "Client",
    "Event",
    "Hold",
    "HolddError",
    "ScheduleRequest",
    "UnreachableError",
    "verify_callback",
]


class Client(Operations):
    """A client of the holdd at base_url. It has one method for each operation of the API.

    A request that got no answer, or was told to wait, is repeated, at most max_attempts times in all.
    """

    def __init__(
        self, base_url: str, token: str | None = None, *, max_attempts: int = 4, timeout_s: float = 30.0
    ) -> None:
        super().__init__(Transport(base_url, token, max_attempts=max_attempts, timeout_s=timeout_s))

    def iterate_holds(self, **query: Any) -> Iterator[Hold]:
        """Iterates over the holds of all pages. The arguments are those of list_holds."""
        while True:
            page = self.list_holds(**query)
            yield from page["holds"]
            following = page.get("next")
            if following is None:
                return
            if following == query.get("cursor"):
                raise UnreachableError("holdd sent the same page twice")
            query["cursor"] = following
