"""What domains tell those who follow them: published in the domain's own transaction, followed in every process."""

from datetime import timedelta
from functools import partial
from typing import Any

import orjson

import store.publications
from auth.clock import Clock
from auth.following import Following
from auth.ids import new_id
from auth.listener import Listener
from auth.scopes import is_scope
from store import Database, Transaction
from store.publications import PublicationRow

LARGEST = 65_536

# A process that could not read for so long has missed what was deleted meanwhile.
KEPT = timedelta(minutes=10)


class PublicationTooLarge(Exception):
    """A payload of more bytes than one publication may have; nothing was published."""


class Publications:
    """Publishes, and follows. Topics are `<domain>:<word>`; a payload is whatever JSON can say.

    Who follows a topic is handed every payload of it: who may see what, the domain says. An id is enough of a payload;
    what it names is then read as the one who follows may read it.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._clock = clock
        self._following = Following(
            database,
            partial(store.publications.ids_since, database),
            partial(store.publications.between, database),
            lambda row: (row.topic,),
        )

    @property
    def listeners(self) -> int:
        """How many follow at this moment."""
        return self._following.listeners

    async def publish(self, tx: Transaction, topic: str, payload: Any) -> None:
        """Tell everybody who follows a topic, once the transaction has been committed, and nobody if it is not.

        Raises `PublicationTooLarge` for more than 64 kB, ValueError for a topic of another form, TypeError for what
        JSON cannot say, and `StoreUnavailable`.
        """
        _require_topic(topic)
        text = orjson.dumps(payload)
        if len(text) > LARGEST:
            raise PublicationTooLarge(f"what is published to {topic!r} has {len(text)} bytes; {LARGEST} are the most")
        now = self._clock.now()
        await store.publications.delete_older(tx, now - KEPT)
        await store.publications.add(tx, PublicationRow(new_id(), topic, text.decode(), now))

    async def follow(self, topic: str) -> Listener[Any]:
        """Follow a topic: what is committed from now on, whichever process does it.

        Raises ValueError for a topic of another form, `StoreUnavailable`, and later `FellBehind`.
        """
        _require_topic(topic)
        return await self._following.listen(topic, lambda row: orjson.loads(row.payload))

    async def close(self) -> None:
        """End every stream."""
        await self._following.close()


def _require_topic(topic: str) -> None:
    if not is_scope(topic):
        raise ValueError(f"a topic is named <domain>:<word>, not {topic!r}")
