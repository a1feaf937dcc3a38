"""Which certificates the client trusts."""

from pathlib import Path

import pytest

from diptych_client.transport import client_options
from support.image_host import write_certificate


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "diptych.example"])
def test_certificate_of_the_environment_is_trusted_on_this_machine_too(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, _ = write_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    trusted = client_options(f"https://{host}", None, 1.0)["verify"].get_ca_certs()
    assert [dict(name[0] for name in one["subject"])["commonName"] for one in trusted] == ["images.example"]
    assert client_options(f"http://{host}", None, 1.0)["verify"] is True
