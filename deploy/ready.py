"""Ends with status 0 if the server of this container is ready: for its healthcheck.

With the standard library alone, because it runs every few seconds. It reads port, address and certificate from the
environment, where the image has them.
"""

import http.client
import os
import ssl
import sys
from collections.abc import Mapping

_SECONDS = 4.0
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def is_ready(environment: Mapping[str, str]) -> bool:
    """Ask the server for `/readyz`."""
    host = environment.get("WATCHWORD_HOST", "127.0.0.1")
    host, port = _ANYWHERE.get(host, host), int(environment.get("WATCHWORD_PORT", "8000"))
    connection = http.client.HTTPConnection(host, port, timeout=_SECONDS)
    if environment.get("WATCHWORD_TLS_CERTIFICATE"):
        # It is the same container. Whether others believe the certificate is `watchword doctor --online`'s to say.
        unverified = ssl.create_default_context()
        unverified.check_hostname = False
        unverified.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, port, timeout=_SECONDS, context=unverified)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(not is_ready(os.environ))
