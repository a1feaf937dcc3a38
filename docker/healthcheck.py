"""Exit with 0 when the server in this container is ready, else with 1 and the reason."""

import http.client
import os
import ssl
import sys

TIMEOUT_S = 4.0  # less than the timeout of the container's check, so that the reason is still printed
LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not listened on


def main() -> int:
    """Request `/readyz` at the address in the environment variables of the server. Return the exit status."""
    host = os.environ.get("DIPTYCH_HOST") or "127.0.0.1"
    port = int(os.environ.get("DIPTYCH_PORT") or "8000")
    address = LOOPBACK_OF.get(host, host)
    if os.environ.get("DIPTYCH_TLS_CERT"):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it is for another name than this
        connection = http.client.HTTPSConnection(address, port, timeout=TIMEOUT_S, context=context)
    else:
        connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read(2000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer: {error!r}")  # noqa: T201 - what `docker inspect` shows
        return 1
    print(answer.status, body)  # noqa: T201
    return 0 if answer.status == http.HTTPStatus.OK else 1


if __name__ == "__main__":
    sys.exit(main())
