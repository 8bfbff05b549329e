"""Makes the accounts of a measure in the database that Watchword is about to serve, with the settings of the server."""

import asyncio

from bench.accounts import EMAILS, PASSWORD
from installation import assemble


async def main() -> None:
    """Make them, if the database is new."""
    installation = assemble()
    installation.prepare_database()
    async with installation.open_auth() as auth:
        for email in EMAILS:
            await auth.users.create(email=email, password=PASSWORD, display_name="Ada Lovelace")


if __name__ == "__main__":
    asyncio.run(main())
