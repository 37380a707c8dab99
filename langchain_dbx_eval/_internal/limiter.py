"""How many calls are in flight at once: fewer when the endpoint says that it is too many."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator

__all__ = ["AdaptiveLimiter"]

_TOO_MANY_REQUESTS = 429
_SHORTEST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_HOPELESS = 8


class AdaptiveLimiter:
    """Gives out slots, as many as the other side bears.

    Additive increase, multiplicative decrease, as TCP does it (D.-M. Chiu and R. Jain, "Analysis of
    the Increase and Decrease Algorithms for Congestion Avoidance in Computer Networks", Computer
    Networks and ISDN Systems 17, 1989): a refusal halves the number of slots, and each round of
    that many answers adds one. Then all wait together: for half a second that doubles with each
    refusal in a row, or longer if the refusal asks for it. Refusals that come during that wait are
    of calls that were on their way, and say nothing new.

    It belongs to one event loop.

    Args:
        most: The most slots, with which it begins.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._slots = float(most)
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._not_before = 0.0
        self._in_a_row = 0

    @property
    def slots(self) -> int:
        """How many calls may be in flight now."""
        return int(self._slots)

    @property
    def exhausted(self) -> bool:
        """Whether nothing but refusals came for so long that waiting is of no use."""
        return self._in_a_row >= _HOPELESS

    async def acquire(self) -> None:
        """Wait for a slot, and for the end of a wait that all are asked to keep."""
        loop = asyncio.get_running_loop()
        while self._taken >= self.slots:
            turn: asyncio.Future[None] = loop.create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                # The turn may have come already: it is another's then.
                self._wake()
                raise
        self._taken += 1
        try:
            while (pause := self._not_before - loop.time()) > 0:
                await asyncio.sleep(pause)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """A call is no longer in flight."""
        self._taken -= 1
        self._wake()

    def on_success(self) -> None:
        """A call was answered."""
        self._in_a_row = 0
        self._slots = min(float(self._most), self._slots + 1 / self._slots)
        self._wake()

    def on_error(self, error: BaseException | None) -> bool:
        """Hear what a call failed with, and give out fewer slots if that is 429.

        Args:
            error: The error, whoever's client it comes from; None where the call did not fail.

        Returns:
            Whether it was 429: the call is to be made again, unless that is `exhausted`.
        """
        refusal = _refusal_in(error)
        if refusal is not None:
            self._refuse(_asked_to_wait(refusal))
        return refusal is not None

    def _refuse(self, retry_after: float) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._not_before:
            return
        self._slots = max(1.0, self._slots / 2)
        pause = min(_SHORTEST_PAUSE_S * 2**self._in_a_row, _LONGEST_PAUSE_S)
        self._in_a_row += 1
        if not self.exhausted:
            self._not_before = now + max(pause, retry_after)

    def _wake(self) -> None:
        free = self.slots - self._taken
        while free > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1


def _refusal_in(error: BaseException | None) -> BaseException | None:
    """The 429 behind an error."""
    for cause in _causes(error):
        # Ours, OpenAI's and LangChain's tell the status themselves, requests' and httpx's by the
        # answer.
        for told in (cause, getattr(cause, "response", None)):
            if getattr(told, "status_code", None) == _TOO_MANY_REQUESTS:
                return cause
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__


def _asked_to_wait(refusal: BaseException) -> float:
    asked = getattr(refusal, "retry_after", None)
    return float(asked) if isinstance(asked, int | float) else 0.0
