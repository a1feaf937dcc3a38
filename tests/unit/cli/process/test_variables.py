"""Variables that look like settings: a misspelt one stops the start, an unknown one is logged."""

import logging

import pytest

from diptych.cli import main
from diptych.cli.process.variables import misspelt_setting, warn_of_unknown
from diptych.errors import ConfigError
from diptych.settings import PREFIX, Settings, read_settings

VALUE = "never-shown"


def of(*names: str, value: str = VALUE) -> dict[str, str]:
    return {f"{PREFIX}{name}": value for name in names}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("APIKEY", "API_KEY"),
        ("AUTH_TOKEN", "API_KEY"),
        ("DATADIR", "DATA_DIR"),
        ("MAX_IMAGE_PIXELS", "MAX_IMAGE_PX"),
        ("PROT", "PORT"),
        ("HSOT", "HOST"),
    ],
)
def test_misspelt_setting_is_named_with_the_right_name(name: str, meant: str) -> None:
    complaint = misspelt_setting(of(name) | of("MODEL"))
    assert complaint is not None
    assert f"{PREFIX}{name} is not a setting, did you mean {PREFIX}{meant}?" in complaint
    assert VALUE not in complaint


@pytest.mark.parametrize("command", [["serve"], ["check"], ["check", "--data-dir", "absent"]])
def test_misspelt_setting_is_wrong_usage_of_commands_that_read_settings(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"{PREFIX}PROT", "8100")
    with pytest.raises(SystemExit, match="2"):
        main(command)
    assert f"{PREFIX}PROT is not a setting, did you mean {PREFIX}PORT?" in capsys.readouterr().err


def test_unknown_name_is_a_warning_without_its_value(caplog: pytest.LogCaptureFixture) -> None:
    given = of("COLOUR_OF_THE_SKY", "RAINBOW", "MODEL") | of("UNSET", value="") | {"PATH": VALUE}
    assert misspelt_setting(given) is None
    with caplog.at_level(logging.WARNING):
        warn_of_unknown(given)
    assert caplog.messages == [
        f"{PREFIX}{name} is not a setting of the server and has no effect"
        for name in ("COLOUR_OF_THE_SKY", "RAINBOW")
    ]


@pytest.mark.parametrize("service", ["", "SERVER_", "EMBEDDINGS_OF_US_"])
def test_known_variables_neither_warn_nor_fail(service: str, caplog: pytest.LogCaptureFixture) -> None:
    address = "tcp://10.96.0.7:8000"
    given = {
        **of(*(name.upper() for name in Settings.model_fields)),
        **of("URL", "TIMEOUT_S", "PUBLISH", "MEMORY", "RUN", "CACHE", "DATA", "RUNS_DIR", "NO_BROWSER"),
        **of(f"{service}SERVICE_HOST", f"{service}SERVICE_PORT", f"{service}SERVICE_PORT_HTTP"),
        **of(f"{service}PORT", f"{service}PORT_8000_TCP", value=address),
        **of(f"{service}PORT_8000_TCP_PROTO", f"{service}PORT_8000_TCP_PORT"),
        **of(f"{service}PORT_8000_TCP_ADDR"),
        "diptych_model": VALUE,
    }
    assert misspelt_setting(given) is None
    with caplog.at_level(logging.WARNING):
        warn_of_unknown(given)
    assert caplog.messages == []


def test_address_of_a_service_is_not_the_port_to_listen_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}PORT", "tcp://10.96.0.7:8000")
    assert read_settings({}).port == Settings.model_fields["port"].default
    assert read_settings({"port": "9"}).port == 9
    with pytest.raises(ConfigError, match=f"{PREFIX}PORT: "):
        read_settings({"port": "tcp://10.96.0.7:8000"})
