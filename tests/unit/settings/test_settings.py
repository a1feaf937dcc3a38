"""Where settings come from and which are refused."""

import re
from pathlib import Path
from tempfile import gettempdir

import pytest
from PIL import Image

from diptych.errors import ConfigError
from diptych.settings import Settings, default_cache_dir, default_data_dir, read_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"DIPTYCH_{name.upper()}", raising=False)


def test_flag_wins_over_variable_and_variable_over_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPTYCH_PORT", "9000")
    monkeypatch.setenv("DIPTYCH_MODEL", "mine")
    settings = read_settings({"port": "9001"})
    assert (settings.port, settings.model, settings.host) == (9001, "mine", "127.0.0.1")


def test_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPTYCH_API_KEY", "")
    assert read_settings({}).api_key is None


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    assert read_settings({"host": host}).host == host


def test_store_is_a_url_that_no_error_shows() -> None:
    with pytest.raises(ConfigError, match="postgresql://USER@HOST/NAME") as refused:
        read_settings({"store": "mysql://u:s3cret@db/d"})
    assert "s3cret" not in str(refused.value)
    with pytest.raises(ConfigError, match="read-only server with DIPTYCH_STORE needs DIPTYCH_ORIGINALS"):
        read_settings({"store": "postgresql://db/d", "read_only": True})
    assert "s3cret" not in repr(read_settings({"store": "postgresql://u:s3cret@db/d"}))


def test_common_originals_are_a_folder_beside_a_database() -> None:
    given = {"store": "postgresql://db/d", "originals": "file:///mnt/my originals"}
    assert read_settings(given).originals_dir == Path("/mnt/my originals")
    assert read_settings({"data_dir": "/srv/d"}).originals_dir == Path("/srv/d")
    with pytest.raises(ConfigError, match=r"^DIPTYCH_ORIGINALS needs DIPTYCH_STORE"):
        read_settings({"originals": "file:///mnt"})
    with pytest.raises(ConfigError, match=r"^DIPTYCH_LIBRARIES needs a server of its own"):
        read_settings(given | {"libraries": "photos=/srv/photos"})
    for url in ("/mnt", "file://mnt", "file:///mnt?x"):
        with pytest.raises(ConfigError, match="file:///FOLDER"):
            read_settings(given | {"originals": url})


def test_originals_in_an_object_store_have_no_key_in_their_address() -> None:
    given = {"store": "postgresql://db/d"}
    for url in ("s3://bucket", "s3://my.bucket-1/some/Prefix_2/"):
        assert read_settings(given | {"originals": url}).originals_bucket == url
    assert read_settings(given | {"originals": "file:///mnt"}).originals_bucket is None
    for url in ("s3://KEY:secret@bucket", "s3://b", "s3://bucket/../x", "s3://bucket?endpoint=x", "s3:///x"):
        with pytest.raises(
            ConfigError, match="s3://BUCKET/PREFIX; the key of a bucket can come from AWS_"
        ) as found:
            read_settings(given | {"originals": url})
        assert "secret" not in str(found.value)


def test_other_hosts_need_a_key_or_insecure() -> None:
    with pytest.raises(ConfigError, match=r"DIPTYCH_API_KEY.*--insecure"):
        read_settings({"host": "0.0.0.0"})
    assert read_settings({"host": "0.0.0.0", "insecure": True}).insecure
    assert read_settings({"host": "0.0.0.0", "api_key": "long enough"}).host == "0.0.0.0"


def test_error_names_the_variable_and_never_shows_a_key() -> None:
    with pytest.raises(ConfigError, match="DIPTYCH_PORT: "):
        read_settings({"port": "99999"})
    with pytest.raises(ConfigError, match=r"DIPTYCH_API_KEY: needs at least 8 .* has 6") as caught:
        read_settings({"api_key": "s3cret"})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("key", ["schlüssel-ü", "with\nnewline", " padded key", "padded key "])
def test_key_that_cannot_be_sent_in_a_header_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="DIPTYCH_API_KEY: must be printable ASCII") as caught:
        read_settings({"api_key": key})
    assert key not in str(caught.value)


def test_pixel_limit_is_at_most_the_limit_of_the_decoder() -> None:
    assert Image.MAX_IMAGE_PIXELS is not None
    assert read_settings({"max_image_px": Image.MAX_IMAGE_PIXELS})
    with pytest.raises(ConfigError, match="DIPTYCH_MAX_IMAGE_PX: "):
        read_settings({"max_image_px": Image.MAX_IMAGE_PIXELS + 1})


def test_precision_that_no_version_can_have_is_refused() -> None:
    with pytest.raises(ValueError, match="must be auto or one of fp32, fp16, bf16, int8"):
        Settings(precision="fp8")


def test_host_names_are_split_at_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPTYCH_ALLOWED_HOSTS", "a.example, b.example,")
    assert read_settings({}).allowed_hosts == ("a.example", "b.example")


@pytest.mark.parametrize("given", [{"max_queue_items": 10}, {"max_inflight_body_bytes": 10}])
def test_queues_too_small_for_one_request_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(given))):
        read_settings(given)


def test_image_urls_default_to_off_and_invalid_hosts_are_refused() -> None:
    assert read_settings({}).image_urls == "off"
    assert read_settings({"image_urls": "a.example, *.b.example:8443"}).image_urls
    with pytest.raises(ConfigError, match=r"DIPTYCH_IMAGE_URLS: 'https://a.example' is no host name"):
        read_settings({"image_urls": "https://a.example"})


def test_data_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert default_data_dir() == Path("/state/diptych")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert default_data_dir() == Path.home() / ".local/state/diptych"


def test_cache_folder_follows_xdg_and_works_without_a_home_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert default_cache_dir() == Path("/cache/diptych")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_dir() == Path.home() / ".cache/diptych"
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert default_cache_dir() == Path(gettempdir()) / "diptych"


def test_trusted_proxies_are_addresses_and_networks() -> None:
    assert read_settings({"trusted_proxies": "127.0.0.1, 10.0.0.0/8"}).trusted_proxies == (
        "127.0.0.1",
        "10.0.0.0/8",
    )
    for wrong in ("proxy", "10.0.0.1/8", "*"):
        with pytest.raises(ConfigError, match="DIPTYCH_TRUSTED_PROXIES: must be addresses or networks"):
            read_settings({"trusted_proxies": wrong})


def test_key_file_allows_a_network_host(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    with pytest.raises(ConfigError, match="there is no API key"):
        read_settings({"host": "0.0.0.0", "data_dir": tmp_path})
    file.touch()
    assert read_settings({"host": "0.0.0.0", "data_dir": tmp_path}).key_file_path == file
    assert read_settings({"host": "0.0.0.0", "key_file": file}).key_file_path == file


@pytest.mark.parametrize(
    "origin", ["*", "null", "app.example", "https://app.example/", "https://App.example"]
)
def test_text_that_no_browser_sends_as_an_origin_is_refused(origin: str) -> None:
    with pytest.raises(ConfigError, match=r"DIPTYCH_CORS_ORIGINS: .* is no origin"):
        read_settings({"cors_origins": f"https://good.example, {origin}"})


def test_origins_are_split_at_commas() -> None:
    origins = "https://app.example, http://localhost:3000,http://[::1]:3000"
    assert read_settings({"cors_origins": origins}).cors_origins == tuple(origins.replace(" ", "").split(","))


def test_tls_needs_both_files() -> None:
    for name in ("tls_cert", "tls_key"):
        with pytest.raises(ConfigError, match="set DIPTYCH_TLS_CERT and DIPTYCH_TLS_KEY"):
            read_settings({name: "a.pem"})


def test_libraries_are_names_with_folders() -> None:
    given = read_settings({"libraries": "photos=/p,scans=/s=1"}).library_folders
    assert given == {"photos": Path("/p"), "scans": Path("/s=1")}
    assert read_settings({"libraries": ["photos=/a,b"]}).library_folders == {"photos": Path("/a,b")}


@pytest.mark.parametrize(
    ("libraries", "why"),
    [
        ("photos", "library 'photos' has no folder: write photos=FOLDER"),
        (
            "My Photos=/p",
            "must be NAME=FOLDER, such as photos=/home/ann/Pictures: collection",
        ),
        ("a=/p,a=/q", "library 'a' is named twice: give each folder a name of its own"),
        ("a=/srv/data/x", "library 'a' is in the data folder: name a folder elsewhere"),
        ("a=/srv", "the data folder is in library 'a': move it, or name a folder that does not hold it"),
    ],
)
def test_library_that_cannot_be_followed_is_refused(libraries: str, why: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(why)):
        read_settings({"libraries": libraries, "data_dir": "/srv/data"})


def test_data_folder_may_be_in_a_hidden_folder_of_a_library() -> None:
    read_settings({"libraries": "a=/home/ann", "data_dir": "/home/ann/.local/state/diptych"})
