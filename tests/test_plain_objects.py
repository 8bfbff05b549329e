"""What is read at once is what graphql-core would have made of it: data and errors alike, and no guard is passed by."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, cast

import pytest
import strawberry
from hypothesis import given
from hypothesis import strategies as st

from schema import Domain, IsAuthenticated, Public, build_schema, has_scope
from schema.executor import OperationExecutor
from schema.requests import GraphQLRequest
from tests.house import OpenHouse

SHELF: dict[str, Any] = {}


@strawberry.enum
class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@strawberry.type
class Leaf:
    word: str
    count: int
    weight: float | None
    is_green: bool
    colour: Colour | None
    tags: list[str]


@strawberry.type
class Branch:
    id: strawberry.ID
    name: str | None
    leaf: Leaf | None
    leaves: list[Leaf | None]
    grid: list[list[int]] | None

    @strawberry.field
    def computed(self) -> str:
        return "computed"


@strawberry.type
class Guarded:
    word: str
    secret: str | None = strawberry.field(permission_classes=[IsAuthenticated])
    scoped: str | None = strawberry.field(permission_classes=[has_scope("plain:read")])


@strawberry.type
class Query:
    @strawberry.field(permission_classes=[Public])
    def branch(self) -> Branch | None:
        return cast("Branch", SHELF["branch"])

    @strawberry.field(permission_classes=[Public])
    def branches(self) -> list[Branch]:
        return cast("list[Branch]", [SHELF["branch"]] * 3)

    @strawberry.field(permission_classes=[Public])
    def guarded(self) -> list[Guarded]:
        return [Guarded(word="seen", secret="hunter2", scoped="hunter3")]


PLAIN: Domain[None] = Domain(name="plain", query=Query, scopes={"plain:read": "Read"})
SCHEMA = build_schema([PLAIN]).schema

LEAF = "{ __typename word count weight isGreen colour tags }"
QUERIES = [
    f"{{ branch {{ id name leaf {LEAF} leaves {LEAF} grid }} }}",
    f"{{ branches {{ i: id n: name leaf {LEAF} }} branch {{ computed leaf {{ word }} }} }}",
    "{ branch { ...A leaf { ...B } } } fragment A on Branch { id leaf { count } } fragment B on Leaf { word w: word }",
    "{ branch { id @skip(if: true) leaf { word @include(if: true) } } }",
]


@dataclass
class Strange:
    """An object of no type of ours, which has what it has."""

    members: dict[str, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        if name == "breaks":
            raise ZeroDivisionError
        return self.members[name] if name in self.members else super().__getattribute__(name)


ANYTHING = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from([Colour.RED, "red", 2**31, -(2**31), float("inf"), ValueError("x"), [], {}, (), b"x", object()])
)
LEAVES = st.builds(
    Leaf,
    word=st.text(max_size=3) | ANYTHING,
    count=st.integers(-5, 5) | ANYTHING,
    weight=st.none() | st.floats(0, 1) | ANYTHING,
    is_green=st.booleans() | ANYTHING,
    colour=st.sampled_from([None, *Colour]) | ANYTHING,
    tags=st.lists(st.text(max_size=2), max_size=2) | ANYTHING,
)
BRANCHES = st.builds(
    Branch,
    id=st.text(max_size=3) | ANYTHING,
    name=st.none() | st.text(max_size=3) | ANYTHING,
    leaf=st.none()
    | LEAVES
    | ANYTHING
    | st.builds(Strange, st.dictionaries(st.sampled_from(["word", "count"]), ANYTHING)),
    leaves=st.lists(LEAVES | st.none() | ANYTHING, max_size=3) | ANYTHING,
    grid=st.none() | st.lists(st.lists(st.integers(0, 3), max_size=2), max_size=2) | ANYTHING,
)


def executed(query: str, *, at_once: bool) -> tuple[Any, list[Any]]:
    prepared = SCHEMA._documents.take(GraphQLRequest(query))
    executor: Any = OperationExecutor.build(SCHEMA._schema, prepared.document)
    executor.plans = prepared.plans if at_once else None
    result = executor.execute_operation()
    return repr(result.data), [(error.message, error.path) for error in result.errors or []]


@pytest.mark.parametrize("query", QUERIES)
@given(branch=BRANCHES | ANYTHING)
def test_it_is_what_graphql_core_makes_of_it(query: str, branch: Any) -> None:
    SHELF["branch"] = branch
    assert executed(query, at_once=True) == executed(query, at_once=False)


async def test_guards_beneath_plain_fields_are_asked(open_house: OpenHouse) -> None:
    house = await open_house(domains=[PLAIN])
    ada = await house.person("ada")
    for client, data in ((house.client(), (None, None)), (ada.client, ("hunter2", None))):
        answer = await client.ask("{ guarded { word secret scoped } }")
        assert answer.body["data"] == {"guarded": [{"word": "seen", "secret": data[0], "scoped": data[1]}]}
        assert len(answer.body["errors"]) == data.count(None)
