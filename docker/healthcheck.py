"""Exit with 0 when the server in this container is ready, else with 1 and the reason."""

import http.client
import os
import sys

TIMEOUT_S = 4.0  # below the one of the container's own check, so that the reason is still told
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not listened on


def main() -> int:
    """Ask `/readyz` where the variables of the server say that it listens."""
    host = os.environ.get("DIPTYCH_HOST") or "127.0.0.1"
    port = int(os.environ.get("DIPTYCH_PORT") or "8000")
    connection = http.client.HTTPConnection(EVERYWHERE.get(host, host), port, timeout=TIMEOUT_S)
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
