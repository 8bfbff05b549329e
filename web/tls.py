"""TLS as it is served: each handshake has the certificate that is on the disk, also one renewed a second ago.

A whole context takes the place of the one before. Loaded into a context that is in use, a certificate whose key is not
written yet would leave that without any key.
"""

import ssl
import time

import structlog

from web.certificates import CertificateFiles, CertificateRefused

_log = structlog.get_logger("watchword.tls")

_LOOK_EVERY = 1.0  # seconds

_Traces = tuple[tuple[int, int, int], ...]


class Tls:
    """The context that connections begin with, and hands each the one of the newest certificate."""

    def __init__(self, files: CertificateFiles) -> None:
        """Read the files. Raises `CertificateRefused`."""
        self._files = files
        self._seen = self._refused = _traces(files)
        self._newest = self.context = files.context()
        # It is asked in every handshake, also in those that name no server.
        self.context.sni_callback = self._choose
        self._look_again = time.monotonic() + _LOOK_EVERY

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext) -> None:
        now = time.monotonic()
        if now >= self._look_again:
            self._look_again = now + _LOOK_EVERY
            self._look()
        if self._newest is not self.context:
            connection.context = self._newest

    def _look(self) -> None:
        traces = _traces(self._files)
        if traces == self._seen:
            return
        try:
            self._newest = self._files.context()
        except CertificateRefused as refused:
            # Half of it may be written. What was good goes on, and the next look is in a second.
            if traces != self._refused:
                self._refused = traces
                _log.warning("certificate_not_renewed", fault=str(refused))
            return
        self._seen = self._refused = traces
        _log.info("certificate_renewed", until=self._files.served().until.isoformat())


def _traces(files: CertificateFiles) -> _Traces | None:
    """Return by what one sees that the files are others, None when one of them is gone."""
    try:
        found = [path.stat() for path in (files.certificate, files.key)]
    except OSError:
        return None
    return tuple((each.st_ino, each.st_size, each.st_mtime_ns) for each in found)
