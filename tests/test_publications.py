"""What domains publish: in their own transaction, to everybody who follows the topic, in every process, once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest
import strawberry
from sqlalchemy import func, select

from auth.listener import MOST_WAITING
from auth.publications import LARGEST, PublicationTooLarge
from auth.refusals import FellBehind
from schema import Domain, Info, IsAuthenticated, Public, build_schema, has_scope
from store import Statement, StoreUnavailable
from store.tables import publications
from tests.faults import full, locked
from tests.house import House, OpenHouse
from tests.streams import PATIENCE, following, listeners

ON_BOTH_ENGINES = True

TOPIC = "notes:added"


async def publish(house: House, *payloads: Any, topic: str = TOPIC) -> None:
    async with house.auth.database.transaction() as tx:
        for payload in payloads:
            await house.auth.publications.publish(tx, topic, payload)


async def publish_and_fail(house: House, payload: Any) -> None:
    async with house.auth.database.transaction() as tx:
        await house.auth.publications.publish(tx, TOPIC, payload)
        raise ZeroDivisionError


async def told(payloads: AsyncIterator[Any], how_many: int = 1) -> list[Any]:
    async with asyncio.timeout(PATIENCE):
        return [await anext(payloads) for _ in range(how_many)]


@pytest.mark.parametrize(
    "payload", [None, True, 7, -0.5, "", "a lamp", "ünïcödé \U0001f56f", [], ["a", None], {}, {"id": "x", "of": [1, 2]}]
)
async def test_who_follows_is_handed_what_was_published(house: House, payload: Any) -> None:
    async with aclosing(await house.auth.publications.follow(TOPIC)) as payloads:
        await publish(house, payload)
        assert await told(payloads) == [payload]


async def test_it_is_handed_over_in_the_order_in_which_it_was_committed(house: House) -> None:
    async with aclosing(await house.auth.publications.follow(TOPIC)) as payloads:
        await publish(house, 1, 2, 3)
        await publish(house, 4)
        await publish(house, 5, 6)
        assert await told(payloads, 6) == [1, 2, 3, 4, 5, 6]


async def test_what_was_rolled_back_is_never_seen(house: House) -> None:
    async with aclosing(await house.auth.publications.follow(TOPIC)) as payloads:
        with pytest.raises(ZeroDivisionError):
            await publish_and_fail(house, "never")
        await publish(house, "after")
        assert await told(payloads) == ["after"]


@pytest.mark.parametrize("fault", [locked, full])
async def test_what_could_not_be_committed_is_never_seen(
    open_house: OpenHouse, impatient: timedelta, fault: Any
) -> None:
    house = await open_house(database_timeout=impatient)
    payloads = await house.auth.publications.follow(TOPIC)
    with fault(house), pytest.raises(StoreUnavailable):
        await publish(house, "never")
    await publish(house, "after")
    assert await told(payloads) == ["after"]


async def test_every_process_sees_it_once(open_house: OpenHouse) -> None:
    here, there = await open_house("shared"), await open_house("shared")
    in_both = [await house.auth.publications.follow(TOPIC) for house in (here, there)]
    for number in range(6):
        await publish([here, there][number % 2], number)
    assert [await told(payloads, 6) for payloads in in_both] == [list(range(6))] * 2


async def test_another_topic_is_not_seen(house: House) -> None:
    async with aclosing(await house.auth.publications.follow(TOPIC)) as payloads:
        await publish(house, "elsewhere", topic="notes:removed")
        await publish(house, "elsewhere", topic="letters:added")
        await publish(house, "here")
        assert await told(payloads) == ["here"]


async def test_each_is_handed_a_payload_of_their_own(house: House) -> None:
    first, second = [await house.auth.publications.follow(TOPIC) for _ in range(2)]
    await publish(house, {"of": []})
    (payload,) = await told(first)
    payload["of"].append("changed")
    assert await told(second) == [{"of": []}]
    await first.aclose()
    await second.aclose()


async def test_who_does_not_read_is_ended_and_nobody_else_notices(house: House) -> None:
    slow, quick = [await house.auth.publications.follow(TOPIC) for _ in range(2)]
    reading = asyncio.create_task(told(quick, MOST_WAITING + 1))
    await publish(house, *range(MOST_WAITING + 1))
    assert await reading == list(range(MOST_WAITING + 1))
    with pytest.raises(FellBehind):
        await anext(slow)
    await quick.aclose()
    assert listeners(house) == 0


@pytest.mark.parametrize("topic", ["", "notes", "notes:", ":added", "Notes:added", "notes:added:again", "notes added"])
async def test_a_topic_of_another_form_is_a_mistake(house: House, topic: str) -> None:
    with pytest.raises(ValueError, match="<domain>:<word>"):
        await publish(house, "x", topic=topic)
    with pytest.raises(ValueError, match="<domain>:<word>"):
        await house.auth.publications.follow(topic)


async def test_a_payload_has_64_kilobytes_at_the_most(house: House) -> None:
    largest = "x" * (LARGEST - 2)
    async with aclosing(await house.auth.publications.follow(TOPIC)) as payloads:
        with pytest.raises(PublicationTooLarge) as refused:
            await publish(house, largest + "x")
        assert "xx" not in str(refused.value)
        await publish(house, largest)
        assert await told(payloads) == [largest]


async def test_what_json_cannot_say_is_a_mistake(house: House) -> None:
    with pytest.raises(TypeError):
        await publish(house, object())


async def test_what_everybody_has_read_long_since_is_deleted_in_passing(open_house: OpenHouse) -> None:
    house = await open_house()
    await publish(house, *range(10))
    house.clock.move(timedelta(minutes=9))
    await publish(house, "younger")
    assert await count(house) == 11
    house.clock.move(timedelta(minutes=2))
    await publish(house, "the youngest")
    assert await count(house) == 2


async def count(house: House) -> int:
    row = await house.auth.database.one(Statement(select(func.count()).select_from(publications)))
    assert row is not None
    return int(row[0])


# A domain's own subscription


@strawberry.type
class Query:
    @strawberry.field(permission_classes=[Public], description="Says hello.")
    def greeting(self) -> str:
        return "hello"


@strawberry.type
class Mutation:
    @strawberry.mutation(permission_classes=[IsAuthenticated], description="Ring the bell.")
    async def ring(self, info: Info, times: int) -> int | None:
        auth = info.context.auth
        async with auth.database.transaction() as tx:
            await auth.publications.publish(tx, "bells:rung", {"times": times})
            if times > 12:
                raise OverflowError
        return times


@strawberry.type
class Subscription:
    @strawberry.subscription(permission_classes=[has_scope("bells:hear")], description="How often the bell is rung.")
    async def rung(self, info: Info) -> AsyncIterator[int]:
        async for payload in await info.context.auth.publications.follow("bells:rung"):
            yield payload["times"]


BELLS: Domain[None] = Domain(
    name="bells",
    query=Query,
    mutation=Mutation,
    subscription=Subscription,
    scopes={"bells:hear": "Hear the bells"},
    grants={"user": ["bells:hear"]},
)
RING = "mutation($times: Int!) { ring(times: $times) }"
HEAR = "subscription { rung }"


async def test_a_domain_publishes_to_a_subscription_of_its_own(open_house: OpenHouse) -> None:
    here, there = await open_house("shared", domains=[BELLS]), await open_house("shared", domains=[BELLS])
    ada, mary = await here.person("ada"), await there.person("mary")
    async with following(here, ada.client, HEAR) as stream:
        assert (await mary.ask(RING, {"times": 13})).code == "INTERNAL"
        await mary.ask(RING, {"times": 3})
        await ada.ask(RING, {"times": 4})
        assert [await stream.event() for _ in range(2)] == [3, 4]
        async with following(here, here.client(), HEAR) as nobodys:
            (error,) = (await nobodys.answer())["errors"]
            assert error["extensions"]["code"] == "UNAUTHENTICATED"


def test_a_domains_subscription_stands_beside_the_cores_with_its_guards() -> None:
    built = build_schema([BELLS])
    assert 'rung: Int! @hasScope(scope: "bells:hear")' in built.schema.as_str()
    guards = {name: [type(guard) for guard in at_door] for name, at_door in built.schema.subscription_guards.items()}
    assert guards == {
        "viewerEvents": [IsAuthenticated, has_scope("activity:read")],
        "auditEvents": [has_scope("audit:read")],
        "rung": [has_scope("bells:hear")],
    }
