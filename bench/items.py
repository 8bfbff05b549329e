"""The types and the data that every stack serves alike: a person, and items that have an owner."""

import strawberry


@strawberry.type
class Person:
    """Somebody with a name."""

    id: strawberry.ID
    name: str
    email: str


@strawberry.type
class Item:
    """Something with an owner."""

    id: strawberry.ID
    title: str
    owner: Person


_ROWS = tuple((f"item-{number}", f"The item called {number}", f"person-{number % 7}") for number in range(50))


def person(person_id: str) -> Person:
    """Return somebody by id."""
    return Person(id=strawberry.ID(person_id), name="Ada Lovelace", email="ada@example.org")


def all_items() -> list[Item]:
    """Return the 50 items, made anew from their rows as a resolver does it."""
    return [Item(id=strawberry.ID(item_id), title=title, owner=person(owner)) for item_id, title, owner in _ROWS]
