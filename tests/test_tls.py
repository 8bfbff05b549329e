"""TLS spoken directly: what browsers get over it, who gets in, and a certificate that is renewed under the server."""

import asyncio
import json
import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path

import pytest
import websockets
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from settings import WrongSettings, load_settings
from tests.certificates import Authority, put
from tests.commands import runner
from tests.house import PASSWORD, PRODUCTION_HASHING, SIGN_UP, WHO_AM_I, Client
from tests.running import Server, free_port, serving, wait_until
from web.certificates import CertificateFiles, CertificateRefused, Served

PER_ADDRESS = 12
PATIENCE = 1.0  # seconds; the least that may be set
AT_THE_LATEST = 8.0  # seconds: its patience, the grain of the sweep, and a busy machine
PUBLIC = "https://id.example.org"
SECRET = "a secret of the tests that is long enough"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    port, files = free_port(), authority.write()
    with serving(
        tmp_path_factory.mktemp("served") / "data",
        authority.trusted(),
        port=port,
        public_url=f"https://localhost:{port}",
        tls_certificate=str(files.certificate),
        tls_key=str(files.key),
        secret_key=SECRET,
        connections_per_address=str(PER_ADDRESS),
        request_timeout=f"PT{PATIENCE:.0f}S",
        **{name: str(value) for name, value in PRODUCTION_HASHING.items()},
    ) as running:
        yield running
        assert "Traceback" not in running.logged()


async def logged_in(client: Client, email: str) -> None:
    await client.ask(SIGN_UP, {"input": {"email": email, "password": PASSWORD, "displayName": "Ada"}})
    assert (await client.log_in(email)).data["login"]["__typename"] == "LoginSucceeded"


def presented(server: Server) -> x509.Certificate:
    """Return the certificate that a new connection is shown, whoever signed it."""
    shown = ssl.get_server_certificate(("127.0.0.1", int(server.port)), timeout=5)
    return x509.load_pem_x509_certificate(shown.encode())


def spoken(server: Server, context: ssl.SSLContext, data: bytes = b"") -> bytes:
    """Shake hands in this context, say something, and return all that is answered until the connection is closed."""
    with (
        socket.create_connection(("127.0.0.1", int(server.port)), timeout=AT_THE_LATEST) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as encrypted,
    ):
        encrypted.sendall(data)
        said = bytearray()
        while more := encrypted.recv(65536):
            said += more
        return bytes(said)


# What comes over it


async def test_a_browser_logs_in_with_cookies_of_this_host_alone_and_is_kept_on_https(server: Server) -> None:
    async with server.client() as client:
        await logged_in(client, "ada@example.org")
        assert {name.partition("-watchword-")[0] for name in client.cookies} == {"__Host"}
        answer = await client.ask(WHO_AM_I)
        assert answer.data["viewer"]["user"]["email"] == "ada@example.org"
        assert answer.response.headers["strict-transport-security"] == "max-age=63072000"
        again = await client.log_in("ada@example.org")
    for cookie in again.response.headers.get_list("set-cookie"):
        assert "; Secure" in cookie


async def test_a_websocket_over_tls_knows_its_cookies(server: Server) -> None:
    async with server.client() as client:
        await logged_in(client, "ada.socket@example.org")
        cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    async with websockets.connect(
        f"wss://localhost:{server.port}/graphql",
        ssl=server.trusting,
        subprotocols=[websockets.Subprotocol("graphql-transport-ws")],
        origin=websockets.Origin(server.url),
        additional_headers={"cookie": cookies},
    ) as socket_:
        await socket_.send(json.dumps({"type": "connection_init"}))
        assert json.loads(await socket_.recv()) == {"type": "connection_ack"}
        await socket_.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": WHO_AM_I}}))
        answer = json.loads(await socket_.recv())
    assert answer["payload"]["data"]["viewer"]["user"]["email"] == "ada.socket@example.org"


def test_a_refusal_of_the_connection_reaches_a_client_that_is_still_sending(server: Server) -> None:
    context = server.trusting
    assert context is not None
    large_head = spoken(server, context, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000)
    assert large_head.startswith(b"HTTP/1.1 431 ")
    head = b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 3000000\r\n\r\n"
    assert spoken(server, context, head + b"x" * 200_000).startswith(b"HTTP/1.1 413 ")


def test_a_request_in_the_same_breath_as_the_end_of_the_handshake_is_answered(server: Server) -> None:
    assert server.trusting is not None
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = server.trusting.wrap_bio(coming, going, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", int(server.port)), timeout=AT_THE_LATEST) as raw:
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                raw.sendall(going.read())
                coming.write(raw.recv(65536))
        client.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        raw.sendall(going.read())
        while True:
            try:
                assert client.read(65536).startswith(b"HTTP/1.1 200 ")
                break
            except ssl.SSLWantReadError:
                more = raw.recv(65536)
                assert more, "closed without an answer"
                coming.write(more)


# Who gets in


def test_plain_http_gets_no_answer(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", int(server.port)), timeout=AT_THE_LATEST) as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        said = bytearray()
        try:
            while more := raw.recv(65536):
                said += more
        except ConnectionResetError:
            pass
    assert b"HTTP" not in said


@pytest.mark.parametrize(
    ("version", "ciphers"),
    [
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_2, "AES128-GCM-SHA256"),  # no forward secrecy
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA"),  # CBC
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_an_old_version_and_a_weak_cipher_are_refused(
    server: Server, authority: Authority, version: ssl.TLSVersion, ciphers: str
) -> None:
    context = authority.trusted()
    context.set_ciphers(ciphers)
    context.minimum_version = context.maximum_version = version
    with pytest.raises((ssl.SSLError, ConnectionError)):
        spoken(server, context)


def test_a_client_of_tls_1_2_gets_in(server: Server, authority: Authority) -> None:
    context = authority.trusted()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    said = spoken(server, context, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200 ")


def test_a_stranger_who_shakes_no_hands_is_counted_from_the_start_and_disconnected_in_time(server: Server) -> None:
    address = ("127.0.0.1", int(server.port))
    wait_until(lambda: is_answered(server), server.everything)
    with ExitStack() as stack:
        silent = [
            stack.enter_context(closing(socket.create_connection(address, timeout=AT_THE_LATEST)))
            for _ in range(PER_ADDRESS)
        ]
        began = time.monotonic()
        wait_until(lambda: not is_answered(server), server.everything)
        for each in silent:
            assert is_over(each)
        assert time.monotonic() - began < AT_THE_LATEST
        assert is_answered(server)
    assert "TOO_MANY_FROM_ADDRESS" in server.logged()


def is_answered(server: Server) -> bool:
    assert server.trusting is not None
    try:
        return b" 200 " in spoken(
            server, server.trusting, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
    except (ssl.SSLError, ConnectionError):
        return False


def is_over(raw: socket.socket) -> bool:
    """Wait until the server ends a connection, however it does."""
    try:
        return raw.recv(1) == b""
    except ConnectionResetError:
        return True


# Renewal


async def test_a_renewed_certificate_is_shown_without_a_restart_and_open_connections_go_on(
    server: Server, authority: Authority
) -> None:
    before = presented(server).serial_number
    async with server.client() as client:
        assert (await client.get("/healthz")).status_code == 200
        certificate, key = authority.made()
        put(server_files(authority).certificate, certificate)
        # Its key comes a moment later, as a renewal writes one file after the other: until then nothing changes.
        wait_until(
            lambda: presented(server).serial_number == before and "certificate_not_renewed" in server.logged(),
            server.everything,
        )
        assert presented(server).serial_number == before
        put(server_files(authority).key, key)
        renewed = x509.load_pem_x509_certificate(certificate).serial_number
        wait_until(lambda: presented(server).serial_number == renewed, server.everything)
        assert (await client.get("/healthz")).status_code == 200
    async with server.client() as client:
        assert (await client.get("/healthz")).status_code == 200
    (line,) = [line for line in server.log_lines() if line["event"] == "certificate_not_renewed"]
    assert "is not the key of the certificate" in line["fault"]
    (line,) = [line for line in server.log_lines() if line["event"] == "certificate_renewed"]
    assert line["until"].endswith("+00:00")


def server_files(authority: Authority) -> CertificateFiles:
    return authority.files


async def test_a_server_that_is_told_to_end_does_not_wait_for_handshakes(tmp_path: Path) -> None:
    another = Authority(tmp_path / "another")
    port, files = free_port(), another.write()
    with serving(
        tmp_path / "data",
        another.trusted(),
        port=port,
        public_url=f"https://localhost:{port}",
        tls_certificate=str(files.certificate),
        tls_key=str(files.key),
        secret_key=SECRET,
        **{name: str(value) for name, value in PRODUCTION_HASHING.items()},
    ) as running:
        with socket.create_connection(("127.0.0.1", int(port))):
            await asyncio.sleep(0)
            began = time.monotonic()
            assert running.end() == 0
        assert time.monotonic() - began < 5
        assert {line["level"] for line in running.log_lines()} <= {"info"}


# What cannot be served


def test_files_that_no_tls_can_be_served_with_are_refused_with_the_one_at_fault(
    authority: Authority, tmp_path: Path
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    good, its_key = authority.made()
    _, another = authority.made()
    private = serialization.load_pem_private_key(its_key, None)
    encrypted = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"pw")
    )

    def fault(first: bytes | None, second: bytes | None) -> str:
        for path, content in ((certificate, first), (key, second)):
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_bytes(content)
        with pytest.raises(CertificateRefused) as refused:
            CertificateFiles(certificate, key).context()
        return str(refused.value)

    assert fault(None, its_key) == f"{certificate} cannot be read: No such file or directory"
    assert fault(good, None) == f"{key} cannot be read: No such file or directory"
    assert fault(b"nothing", its_key) == f"{certificate} has no certificate in PEM"
    assert fault(good, b"nothing") == f"{key} has no private key in PEM"
    assert fault(good, good) == f"{key} has no private key in PEM"
    assert fault(good, another) == f"{key} is not the key of the certificate {certificate}"
    assert fault(good, encrypted).startswith(f"{key} is encrypted")
    assert fault(good, its_key[:60] + b"\n-----END PRIVATE KEY-----\n").startswith(f"{certificate} and {key} cannot be")


def test_a_server_with_a_key_that_does_not_match_says_so_and_does_not_start(
    authority: Authority, tmp_path: Path
) -> None:
    files = CertificateFiles(tmp_path / "certificate.pem", tmp_path / "key.pem")
    files.certificate.write_bytes(authority.made()[0])
    files.key.write_bytes(authority.made()[1])
    production = {name: str(value) for name, value in PRODUCTION_HASHING.items()}
    told = runner(tmp_path / "data")(
        "serve",
        public_url=PUBLIC,
        secret_key=SECRET,
        tls_certificate=str(files.certificate),
        tls_key=str(files.key),
        **production,
    )
    assert told.exit_code == 1
    assert told.output == f"Error: {files.key} is not the key of the certificate {files.certificate}\n"


def test_a_certificate_and_its_key_are_set_together_and_for_https() -> None:
    common = {"secret_key": SECRET, **PRODUCTION_HASHING}
    for wrong, setting in (
        ({"public_url": PUBLIC, "tls_certificate": "c.pem"}, "WATCHWORD_TLS_KEY"),
        ({"public_url": PUBLIC, "tls_key": "k.pem"}, "WATCHWORD_TLS_KEY"),
        ({"tls_certificate": "c.pem", "tls_key": "k.pem"}, "WATCHWORD_TLS_CERTIFICATE"),
    ):
        with pytest.raises(WrongSettings) as refused:
            load_settings(**common, **wrong)
        assert [re.match(r"\w+", fault)[0] for fault in refused.value.faults] == [setting]  # type: ignore[index]
    settings = load_settings(public_url=PUBLIC, tls_certificate="c.pem", tls_key="k.pem", **common)
    assert not settings.is_behind_a_proxy
    assert load_settings(public_url=PUBLIC, **common).is_behind_a_proxy


def test_a_certificate_is_for_the_hosts_that_it_names(authority: Authority) -> None:
    names = ("id.example.org", "*.example.net", "127.0.0.1", "::1")
    served = authority.write(*names, holds=timedelta(days=3)).served()
    assert isinstance(served, Served)
    for host in ("id.example.org", "ID.example.org", "a.example.net", "127.0.0.1", "0:0:0:0:0:0:0:1"):
        assert served.is_for(host), host
    for host in ("example.org", "a.id.example.org", "example.net", "a.b.example.net", "127.0.0.2", "org"):
        assert not served.is_for(host), host
    authority.write()
