"""Images are fetched over real TLS from public addresses only; names and wires are the tests' own."""

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import uvloop

from diptych.adapters.fetching.https_fetcher import FetchLimits, HttpsFetcher
from diptych.adapters.fetching.system_resolver import SystemResolver
from diptych.core.fetching.host_rules import parse_host_rules
from diptych.errors import DiptychError, InvalidValue, Overloaded, TooLarge, UnfetchableImage
from support.image_host import ADDRESS, NAME, RED, ImageHost, image_host, write_certificate
from support.own_internet import Names, Wires
from unit.core.core_fakes import FakeMetrics

MAX_BYTES = 50_000
PRIVATE = "10.0.0.1"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_certificate(tmp_path_factory.mktemp("host"))


@pytest.fixture
def host(certificate: tuple[Path, Path]) -> Iterator[ImageHost]:
    """Of this test alone: what an earlier one's callers left behind is not counted here."""
    with image_host(*certificate) as host:
        yield host


class Setting:
    """A fetcher with the internet around it."""

    def __init__(self, host: ImageHost, rules: str = "public", **given: Any) -> None:
        self.names = Names({NAME: [[ADDRESS]], "a.cdn.example": [[ADDRESS]], "other.example": [[ADDRESS]]})
        self.names.answers |= given.pop("answers", {})
        self.wires = Wires(host.port, given.pop("dead", ()))
        limits = FetchLimits(MAX_BYTES, given.pop("timeout_s", 10.0))
        parsed = parse_host_rules(rules)
        assert parsed is not None
        self.fetcher = HttpsFetcher(
            parsed, limits, **{"resolve": self.names, "network": self.wires, "tls": host.tls, **given}
        )

    def fetch(self, url: str, take: Callable[[int], None] = lambda n_bytes: None) -> bytes:
        return asyncio.run(self.fetcher.fetch(url, take))

    def refusal(self, url: str) -> DiptychError:
        with pytest.raises((InvalidValue, UnfetchableImage)) as caught:
            self.fetch(url)
        assert isinstance(caught.value, DiptychError)
        return caught.value


def url_to(location: str) -> str:
    return f"https://{NAME}/to/{quote(location, safe='')}"


def test_image_comes_whole_from_the_checked_address_under_its_name(host: ImageHost) -> None:
    setting, counted = Setting(host), list[int]()
    assert setting.fetch(f"https://{NAME}/red.png?a=b#c", counted.append) == RED
    assert sum(counted) == len(RED)
    assert (setting.names.asked, setting.wires.dialled) == ([NAME], [(ADDRESS, 443)])
    (seen,) = host.seen
    assert (seen.sni, seen.path, seen.headers["host"]) == (NAME, "/red.png?a=b", NAME)
    assert set(seen.headers) == {"host", "user-agent", "accept", "accept-encoding", "connection"}
    assert seen.headers["accept-encoding"] == "identity"
    assert seen.headers["user-agent"].startswith("diptych/")


def test_proxies_and_netrc_of_the_environment_are_not_looked_at(
    host: ImageHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (tmp_path / "netrc").write_text(f"machine {NAME} login me password s3cret")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert Setting(host).fetch(f"https://{NAME}/red.png") == RED
    assert "authorization" not in host.seen[0].headers


def test_rebound_name_is_resolved_once_and_the_checked_address_dialled(
    host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def second_resolution(*_: object, **__: object) -> None:
        raise AssertionError("resolved again")

    monkeypatch.setattr(socket, "getaddrinfo", second_resolution)
    setting = Setting(host, answers={NAME: [[ADDRESS], [PRIVATE]]})
    assert setting.fetch(f"https://{NAME}/red.png") == RED
    assert (setting.names.asked, setting.wires.dialled) == ([NAME], [(ADDRESS, 443)])
    assert isinstance(setting.refusal(f"https://{NAME}/red.png"), UnfetchableImage)  # now it is private
    redirected = Setting(host, answers={NAME: [[ADDRESS], [PRIVATE]]})
    assert "not only public" in str(redirected.refusal(url_to("/red.png")))
    assert (redirected.names.asked, redirected.wires.dialled) == ([NAME, NAME], [(ADDRESS, 443)])
    assert setting.wires.dialled == [(ADDRESS, 443)]


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["169.254.169.254"], ["::ffff:127.0.0.1"], [ADDRESS, "192.168.0.1"], []],
)
def test_name_with_any_address_that_is_not_public_is_never_dialled(
    host: ImageHost, addresses: list[str]
) -> None:
    setting = Setting(host, answers={NAME: [addresses]})
    assert isinstance(setting.refusal(f"https://{NAME}/red.png"), UnfetchableImage)
    assert setting.wires.dialled == host.seen == []


def test_refusal_does_not_tell_an_unknown_name_from_a_private_one(host: ImageHost) -> None:
    setting = Setting(host, answers={NAME: [[PRIVATE]]})
    assert str(setting.refusal(f"https://{NAME}/")) == str(setting.refusal("https://unknown.example/"))


@pytest.mark.parametrize(
    "literal",
    ["127.0.0.1", "2130706433", "0x7f000001", "[::1]", "[::ffff:7f00:1]", "１２７.０.０.１",],
)  # fmt: skip
def test_address_as_host_is_judged_in_every_spelling_and_nothing_is_resolved(
    host: ImageHost, literal: str
) -> None:
    setting = Setting(host)
    assert isinstance(setting.refusal(f"https://{literal}/red.png"), InvalidValue)
    assert setting.names.asked == setting.wires.dialled == []
    assert isinstance(setting.refusal(url_to(f"https://{literal}/red.png")), UnfetchableImage)
    assert setting.names.asked == [NAME]
    assert setting.wires.dialled == [(ADDRESS, 443)]


def test_next_address_is_tried_when_one_does_not_answer(host: ImageHost) -> None:
    addresses = [f"203.0.114.{n}" for n in range(1, 7)]
    setting = Setting(host, answers={NAME: [addresses]}, dead=addresses[:2])
    assert setting.fetch(f"https://{NAME}/red.png") == RED
    assert [address for address, _ in setting.wires.dialled] == addresses[:3]
    setting = Setting(host, answers={NAME: [addresses]}, dead=addresses)
    assert "cannot be reached" in str(setting.refusal(f"https://{NAME}/red.png"))
    assert len(setting.wires.dialled) == 4


# -- hosts, ports, TLS


def test_list_of_hosts_is_asked_about_the_first_url_and_every_redirect(host: ImageHost) -> None:
    setting = Setting(host, f"{NAME}, *.cdn.example")
    assert setting.fetch("https://a.cdn.example/red.png") == RED
    assert setting.fetch(url_to("https://a.cdn.example/red.png")) == RED
    assert isinstance(setting.refusal("https://other.example/red.png"), InvalidValue)
    assert isinstance(setting.refusal(url_to("https://other.example/red.png")), UnfetchableImage)
    assert "other.example" not in setting.names.asked
    setting = Setting(host, NAME, answers={NAME: [[PRIVATE]]})  # a listed name with a private address
    assert isinstance(setting.refusal(f"https://{NAME}/red.png"), UnfetchableImage)
    assert setting.wires.dialled == []


def test_other_port_than_443_is_asked_only_where_the_list_names_it(host: ImageHost) -> None:
    assert isinstance(Setting(host).refusal(f"https://{NAME}:8443/red.png"), InvalidValue)
    assert isinstance(Setting(host).refusal(url_to(f"https://{NAME}:22/")), UnfetchableImage)
    setting = Setting(host, f"{NAME}:8443")
    assert setting.fetch(f"https://{NAME}:8443/red.png") == RED
    assert setting.wires.dialled == [(ADDRESS, 8443)]
    assert host.seen[-1].headers["host"] == f"{NAME}:8443"
    assert isinstance(setting.refusal(f"https://{NAME}/red.png"), InvalidValue)


def test_certificate_must_be_of_the_name_and_of_a_trusted_authority(host: ImageHost) -> None:
    assert "certificate" in str(Setting(host).refusal("https://other.example/red.png"))
    for untrusting in (ssl.create_default_context(), None):
        assert "certificate" in str(Setting(host, tls=untrusting).refusal(f"https://{NAME}/red.png"))
    assert host.seen == []


# -- redirects


def test_redirects_are_followed_up_to_the_limit_each_on_a_connection_of_its_own(host: ImageHost) -> None:
    setting = Setting(host)
    assert setting.fetch(url_to(url_to(url_to("/red.png")))) == RED
    assert setting.names.asked == [NAME] * 4
    assert len(setting.wires.dialled) == 4
    assert all("cookie" not in seen.headers for seen in host.seen)
    assert "more than 3 redirects" in str(setting.refusal(f"https://{NAME}/loop"))
    assert host.paths.count("/loop") == 4


# -- answers


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("status/404", "answered 404"),
        ("status/206", "answered 206"),
        ("nowhere", "answered 301 with 0 Location headers"),
        ("compressed", "compressed"),
        ("cut-off", "incomplete or invalid HTTP"),
        ("garbage", "incomplete or invalid HTTP"),
    ],
)
def test_answer_that_is_no_image_file_says_what_failed_and_nothing_of_its_content(
    host: ImageHost, path: str, words: str
) -> None:
    error = Setting(host).refusal(f"https://{NAME}/{path}")
    assert isinstance(error, UnfetchableImage)
    assert words in str(error)
    assert "secret" not in str(error)
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None


def test_declared_length_over_the_limit_is_refused_before_anything_is_read(host: ImageHost) -> None:
    counted = list[int]()
    with pytest.raises(TooLarge, match="1000000000 bytes, limit is 50000"):
        Setting(host).fetch(f"https://{NAME}/declared-large", counted.append)
    assert counted == []


def test_undeclared_bytes_are_counted_while_they_come_and_cut_off_at_the_limit(host: ImageHost) -> None:
    counted = list[int]()
    with pytest.raises(TooLarge, match="over the limit of 50000"):
        Setting(host).fetch(f"https://{NAME}/endless", counted.append)
    assert sum(counted) <= MAX_BYTES
    wait_for(lambda: host.left == ["/endless"])
    assert host.n_bytes_sent < 10_000_000  # what fits into buffers, not what was offered


def test_what_take_raises_ends_the_fetch(host: ImageHost) -> None:
    def take(n_bytes: int) -> None:
        raise Overloaded("no room")

    with pytest.raises(Overloaded, match="no room"):
        Setting(host).fetch(f"https://{NAME}/red.png", take)


# -- time


@pytest.mark.parametrize("path", ["hang", "drip"])
def test_host_that_is_slow_is_given_up_and_let_go(host: ImageHost, path: str) -> None:
    error = Setting(host, timeout_s=0.3).refusal(f"https://{NAME}/{path}")
    assert isinstance(error, UnfetchableImage)
    assert "not fetched within 0.3 s" in str(error)
    wait_for(lambda: host.left in ([f"/{path}"], [""]))  # a busy machine may not get to ask in time


def test_resolver_and_handshake_count_against_the_same_deadline(host: ImageHost) -> None:
    async def hanging(name: str) -> list[Any]:
        await asyncio.sleep(60)
        return []

    setting = Setting(host, timeout_s=0.2, resolve=hanging)
    assert "within 0.2 s" in str(setting.refusal(f"https://{NAME}/red.png"))

    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never says a word
        setting = Setting(host, timeout_s=1.0)  # a busy machine, too, has asked by then
        setting.wires.port = silent.getsockname()[1]
        assert "within 1 s" in str(setting.refusal(f"https://{NAME}/red.png"))
        connection, _ = silent.accept()
        with connection:
            connection.settimeout(5)
            while connection.recv(4096):  # the hello, then the end: the socket was not left open
                pass


def test_cancelled_fetch_lets_go_of_its_connection_and_the_loop_was_free_meanwhile(host: ImageHost) -> None:
    async def run() -> None:
        setting = Setting(host)
        fetch = asyncio.create_task(setting.fetcher.fetch(f"https://{NAME}/drip", lambda n_bytes: None))
        n_turns = 0
        while "/drip" not in host.paths:
            n_turns += 1
            await asyncio.sleep(0.001)
        assert n_turns > 1
        fetch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetch

    asyncio.run(run())
    wait_for(lambda: host.left == ["/drip"])


# -- the real network


def test_loop_of_the_server_fetches_and_lets_go_as_well(host: ImageHost) -> None:
    async def run() -> None:
        patient, hurried = Setting(host), Setting(host, timeout_s=0.3)
        assert await patient.fetcher.fetch(f"https://{NAME}/red.png", lambda n_bytes: None) == RED
        for setting, path, words in (
            (hurried, "drip", "within 0.3 s"),
            (patient, "garbage", "invalid HTTP"),
            (patient, "status/404", "answered 404"),
        ):
            with pytest.raises(UnfetchableImage, match=words):
                await setting.fetcher.fetch(f"https://{NAME}/{path}", lambda n_bytes: None)

    uvloop.run(run())
    wait_for(lambda: host.left in (["/drip"], [""]))


def test_real_network_dials_what_the_real_resolver_found(host: ImageHost) -> None:
    """`localhost` by the system, over the system's sockets, and a judge who lets loopback pass."""
    rules = parse_host_rules(f"localhost:{host.port}")
    assert rules is not None
    fetcher = HttpsFetcher(
        rules,
        FetchLimits(MAX_BYTES, 10.0),
        resolve=SystemResolver(1, FakeMetrics()),
        judge=lambda address: None if str(address) in {"127.0.0.1", "::1"} else "elsewhere",
        tls=host.tls,
    )
    host.tls.check_hostname = False  # its certificate is for another name
    try:
        assert asyncio.run(fetcher.fetch(f"https://localhost:{host.port}/red.png", lambda n: None)) == RED
    finally:
        host.tls.check_hostname = True


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
