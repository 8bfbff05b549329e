"""Several processes behind one port: they serve as one, whichever dies is replaced, and they end in good order."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.asking import asking
from tests.house import LOG_IN, LOG_OUT, PASSWORD, SIGN_UP, WHO_AM_I, Client
from tests.running import END_SECONDS, ROOT, START_SECONDS, Server, environment, free_port, serving, wait_until
from tests.test_streams_served import FOLLOW, closed, conversing, follow, hear, say

# So that a login takes a moment, and is under way when a signal comes.
SLOW_HASHES = {"password_memory_kib": "65536", "password_iterations": "2"}

# Half of a request: its server waits for the rest.
HALF = b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"

PRESS = """
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from schema import Domain

@asynccontextmanager
async def lifespan(auth):
    if Path({out_of_paper!r}).exists():
        raise RuntimeError("the press is out of paper")
    yield

press = Domain("press", lifespan=lifespan)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run the two processes that these tests share."""
    with serving(tmp_path_factory.mktemp("workers") / "data", workers="2") as running:
        yield running


async def join(client: Client, email: str) -> None:
    """Sign up and log in."""
    await client.ask(SIGN_UP, {"input": {"email": email, "password": PASSWORD, "displayName": "Ada"}})
    assert (await client.log_in(email)).data["login"]["__typename"] == "LoginSucceeded"


async def email_of(client: Client) -> str:
    return str((await client.ask(WHO_AM_I)).data["viewer"]["user"]["email"])


async def worker_of(server: Server, client: Client) -> int:
    """Return which process answers on the connection that this client keeps."""
    answer = await client.get("/healthz")
    request_id = answer.headers["x-request-id"]
    wait_until(lambda: request_id in server.logged(), server.everything)
    (line,) = [line for line in server.log_lines() if line.get("request_id") == request_id]
    return int(line["worker"])


@asynccontextmanager
async def one_client_each(server: Server) -> AsyncIterator[dict[int, Client]]:
    """Give a client for each process, whose connection is to that one."""
    clients: dict[int, Client] = {}
    spare = []
    try:
        while clients.keys() != server.workers().keys():
            client = server.client()
            spare.append(client)
            clients.setdefault(await worker_of(server, client), client)
        yield clients
    finally:
        for client in spare:
            await client.aclose()


async def until(holds: Callable[[], bool], server: Server) -> None:
    """Wait until it holds, while this process's other tasks go on."""
    await asyncio.to_thread(wait_until, holds, server.everything, START_SECONDS)


def are_gone(pids: Collection[int]) -> bool:
    return not any(map(is_there, pids))


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_several_processes_answer_at_one_port_and_the_setup_token_is_printed_once(server: Server) -> None:
    async with one_client_each(server) as clients:
        assert len(clients) == 2
    assert server.process.pid not in server.workers().values()
    assert server.said().count("setup token, which works once") == 1
    assert server.said().count(server.setup_token) == 1


async def test_a_session_that_is_ended_in_one_is_refused_in_the_other_on_the_next_request(server: Server) -> None:
    async with one_client_each(server) as clients:
        here, there = clients.values()
        await join(here, "ada@example.org")
        there.cookies.update(dict(here.cookies))
        assert await email_of(there) == "ada@example.org"
        await here.ask(LOG_OUT)
        assert (await there.ask(WHO_AM_I)).reason == "SESSION_REVOKED"


async def test_one_that_is_killed_is_replaced_and_nothing_that_was_acknowledged_is_lost(server: Server) -> None:
    before, acknowledged = server.workers(), list[str]()

    async def sign_up(client: Client, name: str) -> None:
        for number in range(1_000):
            email = f"{name}.{number}@example.org"
            details = {"email": email, "password": PASSWORD, "displayName": name}
            await client.ask(SIGN_UP, {"input": details})
            acknowledged.append(email)

    async with one_client_each(server) as clients, server.client() as browser:
        await join(browser, "grace@example.org")
        tasks = [asyncio.create_task(sign_up(client, f"worker{slot}")) for slot, client in clients.items()]
        await until(lambda: len(acknowledged) >= 20, server)
        victim = min(before)
        os.kill(before[victim], signal.SIGKILL)
        await until(lambda: server.workers().get(victim, before[victim]) != before[victim], server)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        after = server.workers()
        assert after[victim] != before[victim]
        assert {slot: pid for slot, pid in after.items() if slot != victim}.items() <= before.items()
        (death,) = [line for line in server.life() if line["event"] == "worker_died"]
        assert (death["pid"], death["status"]) == (before[victim], -signal.SIGKILL)
        assert await email_of(browser) == "grace@example.org"
    async with server.client() as script:
        for email in acknowledged[-20:]:
            by_body = {"input": {"email": email, "password": PASSWORD, "delivery": "BODY"}}
            assert (await script.ask(LOG_IN, by_body)).data["login"]["__typename"] == "LoginSucceeded", email


async def test_told_to_renew_they_are_replaced_one_after_the_other_and_no_request_fails(server: Server) -> None:
    before, renewed = server.workers(), server.events().count("renewed")
    async with asking(server) as load:
        server.process.send_signal(signal.SIGHUP)
        await until(lambda: server.events().count("renewed") > renewed, server)
    assert set(server.workers().values()).isdisjoint(before.values())
    assert len(server.workers()) == 2
    assert are_gone(before.values())
    assert (load.failed, load.refused) == ([], 0)
    assert load.answered > 100
    assert load.told >= 2  # connections move on to the next process because they are told to


async def test_told_to_end_they_answer_what_is_under_way_tell_those_who_follow_and_refuse_what_is_new(
    tmp_path: Path,
) -> None:
    with serving(tmp_path / "data", workers="2", **SLOW_HASHES) as ending:
        async with ending.client() as ada, ending.client() as grace:
            await join(ada, "ada@example.org")
            assert (await grace.get("/healthz")).status_code == 200  # a connection that she keeps
            by_body = {"input": {"email": "ada@example.org", "password": PASSWORD, "delivery": "BODY"}}
            headers = {"accept": "text/event-stream"}
            async with conversing(ending, ada) as stays:
                await follow(stays, ada)
                async with ada.stream("POST", "/graphql", json={"query": FOLLOW}, headers=headers) as stream:
                    lines = stream.aiter_lines()
                    assert await anext(lines) == ":"
                    async with asking(ending) as load:
                        await until(lambda: load.answered > 100, ending)
                        await say(stays, type="subscribe", id="2", payload={"query": LOG_IN, "variables": by_body})
                        login = asyncio.create_task(grace.ask(LOG_IN, by_body))
                        assert await asyncio.to_thread(ending.end) == 0
                    assert (await login).data["login"]["__typename"] == "LoginSucceeded"
                    assert not [line async for line in lines if line.startswith("event: complete")]
                heard = [await hear(stays)]
                while heard[-1]["type"] != "complete":
                    heard.append(await hear(stays))
                (answer,) = [message for message in heard if message["id"] == "2" and message["type"] == "next"]
                assert answer["payload"]["data"]["login"]["__typename"] == "LoginSucceeded"
                assert await closed(stays) == (1012, "The server ends.")
        assert load.failed == []
        assert load.told >= 8  # each of the connections, and those that moved on to the other process first
        assert not {"error", "warning"} & {line["level"] for line in ending.log_lines()}
        with socket.socket() as newcomer:
            assert newcomer.connect_ex(("127.0.0.1", int(ending.port))) != 0


async def test_without_a_parent_the_workers_end_by_themselves_and_leave_the_port(tmp_path: Path) -> None:
    with serving(tmp_path / "data", workers="2") as orphaned:
        pids = orphaned.workers().values()
        orphaned.kill()
        wait_until(lambda: are_gone(pids), orphaned.everything)
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", int(orphaned.port)))


def press(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """Return a file without which a domain starts, and the environment in which it can be imported."""
    out_of_paper = tmp_path / "out-of-paper"
    (tmp_path / "printing.py").write_text(PRESS.format(out_of_paper=str(out_of_paper)))
    return out_of_paper, {"PYTHONPATH": str(tmp_path)}


def test_a_worker_that_cannot_start_ends_the_whole_and_the_log_says_why(tmp_path: Path) -> None:
    out_of_paper, path = press(tmp_path)
    out_of_paper.touch()
    settings = {"data_dir": str(tmp_path / "data"), "port": free_port(), "workers": "2", "domains": "printing:press"}
    ended = subprocess.run(
        [sys.executable, "-m", "cli", "serve"],
        cwd=ROOT,
        env=environment(**settings) | path,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert ended.returncode == 1
    assert "the press is out of paper" in ended.stderr
    assert "worker_not_started" in ended.stderr


async def test_what_cannot_start_later_is_tried_again_after_pauses_and_who_is_told_twice_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out_of_paper, path = press(tmp_path)
    for name, value in path.items():
        monkeypatch.setenv(name, value)
    with serving(tmp_path / "data", workers="2", domains="printing:press", shutdown_timeout="PT1H") as running:
        before = running.workers()
        out_of_paper.touch()
        running.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "renewal_given_up" in running.events(), running.everything, START_SECONDS)
        assert running.workers() == before
        os.kill(before[1], signal.SIGKILL)
        wait_until(lambda: any(line.get("pause") for line in running.life()), running.everything, START_SECONDS)
        assert running.is_ready()
        out_of_paper.unlink()
        wait_until(lambda: running.workers().keys() == before.keys(), running.everything, START_SECONDS)
        assert running.workers()[1] != before[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", int(running.port))
        writer.write(HALF)
        running.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "ending" in running.events(), running.everything)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(END_SECONDS) == 1
        assert "worker_killed" in running.events()
        assert are_gone(running.workers().values())
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()


async def test_one_process_alone_serves_on_for_the_delay_and_cuts_off_what_takes_too_long(tmp_path: Path) -> None:
    with serving(tmp_path / "data", shutdown_delay="PT1S", shutdown_timeout="PT1S") as ending:
        assert ending.workers() == {}
        reader, writer = await asyncio.open_connection("127.0.0.1", int(ending.port))
        writer.write(HALF)
        async with asking(ending, connections=2) as load:
            ending.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "ending" in ending.events(), ending.everything)
            answered = load.answered
            async with ending.client() as newcomer:
                assert (await newcomer.get("/healthz")).status_code == 200
            assert await asyncio.to_thread(ending.process.wait, END_SECONDS) == 0
        assert load.failed == []
        assert load.answered > answered
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        assert [line["requests"] for line in ending.life() if line["event"] == "cut_off"] == [1]
