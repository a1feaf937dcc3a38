"""Choose who fetches images by URL: an HTTPS fetcher, or nobody when image URLs are off."""

from collections.abc import Callable

from diptych.adapters.fetching.https_fetcher import FetchLimits, HttpsFetcher
from diptych.adapters.fetching.system_resolver import SystemResolver
from diptych.core.fetching.host_rules import parse_host_rules
from diptych.core.fetching.image_urls import ImageFetcher, ImageUrls
from diptych.core.limits import Limits
from diptych.core.ports import Metrics
from diptych.errors import InvalidValue
from diptych.settings import PREFIX, Settings

# Of one image: enough for a large one from a slow host, a sixth of what all images of a request have.
IMAGE_URL_TIMEOUT_S = 10.0
# Images that all requests together fetch at once. With their look-ups they may take 288 sockets, which leaves
# room for connections where a process may open 1,024 files.
MAX_FETCHES = 32
# Name look-ups per fetch. Where name servers do not answer, a look-up outlasts its fetch threefold and more.
LOOK_UPS_PER_FETCH = 8


class NoFetcher:
    """Satisfies `ImageFetcher` where image URLs are off."""

    async def fetch(self, url: str, take: Callable[[int], None]) -> bytes:
        """Raise InvalidValue that says how to turn image URLs on."""
        raise InvalidValue(
            f"image URLs are off on this server ({PREFIX}IMAGE_URLS turns them on): "
            "send the bytes as a data URI"
        )


def image_urls_of(settings: Settings, limits: Limits, metrics: Metrics) -> ImageUrls:
    """Build the service that fetches the images of a request by URL."""
    return ImageUrls(
        _fetcher_of(settings, metrics),
        max_at_once=MAX_FETCHES,
        turn_s=IMAGE_URL_TIMEOUT_S,
        total_s=limits.body_timeout_s,  # fetched images take the place of a body
        metrics=metrics,
    )


def max_open_sockets(settings: Settings) -> int:
    """Return how many sockets fetches and name look-ups may have open at once."""
    if parse_host_rules(settings.image_urls) is None:
        return 0
    return (1 + LOOK_UPS_PER_FETCH) * MAX_FETCHES


def _fetcher_of(settings: Settings, metrics: Metrics) -> ImageFetcher:
    rules = parse_host_rules(settings.image_urls)
    if rules is None:
        return NoFetcher()
    limits = FetchLimits(settings.max_image_bytes, IMAGE_URL_TIMEOUT_S)
    resolve = SystemResolver(LOOK_UPS_PER_FETCH * MAX_FETCHES, metrics)
    return HttpsFetcher(rules, limits, resolve=resolve)
