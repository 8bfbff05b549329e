"""Hashing and checking passwords with Argon2id, in a few threads of their own that give way to everything else.

On one core, while 16 connections log in without pause, a guarded query's p99 is 9 ms with these threads niced, and
1,791 ms without: the hash releases Python's lock but not the processor.
"""

import asyncio
import os
import secrets
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from auth.password_rules import LONGEST, check_password
from auth.policy import HashingCost
from auth.refusals import Overloaded

Result = TypeVar("Result")

# At 20 ms each on two threads, the last in this line waits for two thirds of a second.
_LONGEST_QUEUE = 64
_RETRY_AFTER = timedelta(seconds=2)


class Passwords:
    """Hashes and verifies, a bounded number at a time; beyond a bounded queue it refuses at once.

    `refused` is how often it did. The wait for each hash is within what `around` returns.
    """

    def __init__(self, cost: HashingCost) -> None:
        self._argon2 = PasswordHasher(
            time_cost=cost.iterations, memory_cost=cost.memory_kib, parallelism=1, type=Type.ID
        )
        self._threads = ThreadPoolExecutor(cost.threads, thread_name_prefix="watchword-hash", initializer=_give_way)
        self._threads_at_most = cost.threads
        self._under_way = 0
        self.refused = 0
        self.around: Callable[[], AbstractContextManager[object]] = nullcontext
        self._nobodys_hash = self._argon2.hash(secrets.token_urlsafe(32))

    async def hash_checked(self, password: str, *, about_its_owner: tuple[str, ...]) -> str:
        """Return the hash of a password that may be chosen. Raises `InputRefused` and `Overloaded`."""

        def check_and_hash() -> str:
            check_password(password, about_its_owner=about_its_owner)
            return self._argon2.hash(password)

        return await self._in_thread(check_and_hash)

    async def verify(self, stored_hash: str | None, password: str) -> bool:
        """Say whether the password is the one that was hashed.

        None stands for an account that does not exist: the answer is False and costs as much. Raises `Overloaded`.
        """
        expected = stored_hash if stored_hash is not None and len(password) <= LONGEST else self._nobodys_hash

        def verify_in_thread() -> bool:
            try:
                return self._argon2.verify(expected, password[:LONGEST])
            except (VerificationError, InvalidHashError):
                return False

        return await self._in_thread(verify_in_thread) and expected is stored_hash

    def require_room(self) -> None:
        """Return if a password would be taken into the line. Raises `Overloaded`, before anybody counts a guess."""
        if self._under_way >= _LONGEST_QUEUE:
            self.refused += 1
            raise Overloaded(_RETRY_AFTER)

    @property
    def running(self) -> int:
        """How many are being hashed at this moment."""
        return min(self._under_way, self._threads_at_most)

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return self._under_way - self.running

    async def rehash(self, password: str) -> str:
        """Return the hash, at today's cost, of a password that was just verified. Raises `Overloaded`."""
        return await self._in_thread(lambda: self._argon2.hash(password))

    def is_outdated(self, stored_hash: str) -> bool:
        """Say whether a hash was made at another cost than today's."""
        return self._argon2.check_needs_rehash(stored_hash)

    def close(self) -> None:
        """End the threads, once they have done what they are doing."""
        self._threads.shutdown(cancel_futures=True)

    async def _in_thread(self, function: Callable[[], Result]) -> Result:
        self.require_room()
        self._under_way += 1
        loop, work = asyncio.get_running_loop(), self._threads.submit(function)
        # Counted down when the work has ended or was taken out of the line, and not when its caller goes away: who
        # hangs up on a hash that is being computed must not make room for another.
        work.add_done_callback(lambda _: loop.call_soon_threadsafe(self._count_down))
        with self.around():
            return await asyncio.wrap_future(work)

    def _count_down(self) -> None:
        self._under_way -= 1


def _give_way() -> None:
    # Linux gives each thread a niceness of its own; elsewhere this would nice the whole process.
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
