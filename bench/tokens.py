"""What a token costs: its signature, found again in the memory, and the whole gate with the row that decides.

CPU time of this process, in microseconds: of many short rounds the best, for the others were disturbed. The gate's
floor, one read of the session's row by the driver with nothing around it, is measured in turn with it: machines differ,
and the ratio says more than the figure.
"""

import asyncio
import gc
import platform
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy.dialects.sqlite import dialect

from auth import Auth, keys, tokens
from auth.gate import Credential
from auth.ids import new_id
from auth.keys import SigningKey
from auth.origin import Origin
from auth.secret import Secret
from auth.tokens import Claims, TokenKind
from installation import Installation, assemble
from settings import load_settings
from store import sessions

ISSUER = "https://id.example.org"
HERE = Origin("127.0.0.1", "bench", new_id())
PASSWORD = "a lighthouse keeps no secrets"  # noqa: S105 - of an account that lives as long as this process
ROUNDS = 100
TIMES = 300

Act = Callable[[], Awaitable[object]]


async def in_turn(acts: Mapping[str, Act]) -> dict[str, float]:
    """Return the CPU time of one act each, in microseconds; the acts take turns, so that all see the same weather."""
    best = dict.fromkeys(acts, float("inf"))
    for _ in range(ROUNDS):
        for name, act in acts.items():
            begun = time.process_time()
            for _ in range(TIMES):
                await act()
            best[name] = min(best[name], (time.process_time() - begun) / TIMES * 1e6)
    return best


def cold(key: SigningKey) -> Act:
    """Return a verification from the text of a token to its claims, as it is done once for each token."""
    now = datetime.now(UTC)
    claims = Claims(
        kind=TokenKind.SESSION,
        subject=new_id(),
        token_id=new_id(),
        scopes=frozenset({"profile:read", "sessions:read"}),
        issued_at=now,
        expires_at=now + timedelta(minutes=5),
        client_id="watchword",
        session_id=new_id(),
        authentication_methods=("pwd",),
        authenticated_at=now,
    )
    text = tokens.issue(claims, key, issuer=ISSUER).reveal()

    async def verify() -> object:
        return tokens.verify(tokens.read(text), key, issuer=ISSUER, now=now)

    return verify


async def warm(installation: Installation, auth: Auth) -> dict[str, Act]:
    """Return what a request does whose token was seen before, and the parts of that."""
    await auth.users.create(email="ada@example.org", password=PASSWORD, display_name="Ada")
    logged_in = await auth.login.log_in("ada@example.org", PASSWORD, HERE)
    if logged_in is None:
        raise RuntimeError("nobody was logged in")
    made = await auth.api_tokens.create(logged_in.grant.identity, name="bench", scopes=["profile:read"])
    access, api = Credential(token=logged_in.grant.access_token), Credential(token=made.token)
    claims = await auth.gate.verify(logged_in.grant.access_token)
    for credential in (access, api):
        await auth.gate.authenticate(credential, HERE)  # so that the first use is written down, and not measured
    text = logged_in.grant.access_token.reveal()
    compiled = sessions._BY_TOKEN.statement.compiled(dialect(paramstyle="qmark"))  # noqa: SLF001 - the floor is this very read
    arguments = compiled.arguments({"session_id": claims.session_id, "signed_by": claims.kid})
    driver = sqlite3.connect(str(installation.settings.database_file), isolation_level=None)

    async def floor() -> object:
        return driver.execute(compiled.sql, arguments).fetchone()

    return {
        "verification, cached": lambda: auth.gate.verify(Secret(text)),
        "the session's row, by the driver alone": floor,
        "gate, cached, access token of a session": lambda: auth.gate.authenticate(access, HERE),
        "gate, cached, API token": lambda: auth.gate.authenticate(api, HERE),
    }


async def main() -> None:
    """Measure everything and print it."""
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {platform.machine()}, {sys.platform}")
    acts = {f"verification, cold, {name}": cold(keys.generate(name)) for name in keys.ALGORITHMS}
    with tempfile.TemporaryDirectory() as folder:
        installation = assemble(load_settings(data_dir=Path(folder), password_memory_kib=8, password_iterations=1))
        installation.prepare_database()
        async with installation.open_auth() as auth:
            acts |= await warm(installation, auth)
            gc.collect()
            gc.freeze()
            figures = await in_turn(acts)
    for what, microseconds in figures.items():
        print(f"{what:<42} {microseconds:8.2f} µs")
    floor, gate = (
        figures[name] for name in ("the session's row, by the driver alone", "gate, cached, access token of a session")
    )
    print(f"{'the gate, in reads of its row':<42} {gate / floor:8.2f}")


if __name__ == "__main__":
    asyncio.run(main())
