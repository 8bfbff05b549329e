"""Opening a database by where it is: the one place that knows which engine that wants."""

from datetime import timedelta

from store.database import Database
from store.locations import Location, SQLiteFile
from store.postgresql import PostgreSQLDatabase
from store.sqlite import SQLiteDatabase


async def open_database(location: Location, *, patience: timedelta, connections: int) -> Database:
    """Open a database that is migrated already.

    `patience` is how long anything waits before it is UNAVAILABLE, and `connections` how many this process may have,
    where the engine has any. Raises `StoreUnavailable` when there is no such database, or it cannot be reached.
    """
    if isinstance(location, SQLiteFile):
        return SQLiteDatabase(location.path, patience=patience)
    return await PostgreSQLDatabase.open(location, patience=patience, connections=connections)
