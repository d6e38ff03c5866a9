"""Coming back to a session whose link broke: again and again, until it is there, gone, or has waited long enough.

Raises   nothing but cancellation: whatever stands against it ends as False.
Used by  actors/call.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from router.errors import LinkAuthError, LinkError, PatchbayError

__all__ = ["RESUME_S", "reattach"]

RESUME_S = 30.0
"""How long a session waits for its caller by default (`session.resume_s`)."""
BACKOFF_S = (0.05, 0.1, 0.2, 0.5)
"""Waits between attempts; the last one repeats."""


async def reattach(attach: Callable[[], Awaitable[None]], is_over: Callable[[], bool]) -> bool:
    """True once `attach` succeeded; False when the host knows the session no more, or `RESUME_S` have passed."""
    loop = asyncio.get_running_loop()
    deadline_s, attempt = loop.time() + RESUME_S, 0
    while loop.time() < deadline_s and not is_over():
        try:
            async with asyncio.timeout_at(deadline_s):
                await attach()
        except LinkAuthError:
            return False
        except (LinkError, OSError, TimeoutError):
            await asyncio.sleep(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])
            attempt += 1
        except PatchbayError:
            return False  # the host knows the session no more
        else:
            return True
    return False
