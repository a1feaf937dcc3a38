"""Who fetches images by URL: by the settings, or nobody. Knows nothing of models."""

from collections.abc import Callable

from diptych.adapters.fetching.https_fetcher import FetchLimits, HttpsFetcher
from diptych.adapters.fetching.system_resolver import SystemResolver
from diptych.core.fetching.host_rules import parse_host_rules
from diptych.core.fetching.image_urls import ImageFetcher, ImageUrls
from diptych.core.ports import Metrics
from diptych.errors import InvalidValue
from diptych.settings import PREFIX, Settings

LOOK_UPS_PER_FETCH = 8  # look-ups outlast their fetches threefold and more where name servers are silent


class NoFetcher:
    """Satisfies `ImageFetcher` where image URLs are off."""

    async def fetch(self, url: str, take: Callable[[int], None]) -> bytes:
        """Raises InvalidValue saying what turns them on."""
        raise InvalidValue(
            f"image URLs are off on this server ({PREFIX}IMAGE_URLS turns them on): "
            "send the bytes as a data URI"
        )


def image_urls_of(settings: Settings, metrics: Metrics) -> ImageUrls:
    """What the routes get images from that are given by URL."""
    return ImageUrls(
        _fetcher_of(settings, metrics),
        max_at_once=settings.max_image_url_fetches,
        turn_s=settings.image_url_timeout_s,
        total_s=settings.body_timeout_s,  # they come in place of a body
        metrics=metrics,
    )


def max_open_sockets(settings: Settings) -> int:
    """How many sockets of fetches and of look-ups may be open at once."""
    if parse_host_rules(settings.image_urls) is None:
        return 0
    return (1 + LOOK_UPS_PER_FETCH) * settings.max_image_url_fetches


def _fetcher_of(settings: Settings, metrics: Metrics) -> ImageFetcher:
    rules = parse_host_rules(settings.image_urls)
    if rules is None:
        return NoFetcher()
    limits = FetchLimits(settings.max_image_bytes, settings.image_url_timeout_s)
    resolve = SystemResolver(LOOK_UPS_PER_FETCH * settings.max_image_url_fetches, metrics)
    return HttpsFetcher(rules, limits, resolve=resolve)
