"""Choose the version that the server moves to without a call, by the settings."""

import logging
from collections.abc import Collection

from diptych.bundle.image.preprocess import DecodeMode
from diptych.core.rollout.ports import Bundles
from diptych.core.rollout.types import Policy
from diptych.core.types import VersionRef
from diptych.errors import BundleError, ConfigError, NotFound

log = logging.getLogger(__name__)


class RolloutTriggers:
    """Answers which version is wanted next. Blocking, since it reads the model repository."""

    def __init__(
        self,
        bundles: Bundles,
        *,
        manual: bool = False,
        pinned: int | None = None,
        configured_model: str | None = None,
        precision: str | None = None,
        decode: DecodeMode = "exact",
    ) -> None:
        """`manual`: do not move to new versions of the active model. `pinned`: its version to serve.
        `precision` and `decode`: those of what is served from now on; None for the recorded precision.

        `configured_model`: the name that the settings give; what serves wins over it, unless it is another
        one than at the last start.
        """
        self._bundles = bundles
        self._manual = manual
        self._pinned = pinned
        self._tried_pin: int | None = None
        self._has_missed_pin = False
        self.precision = precision
        self.decode = decode
        self.configured_model = (
            configured_model  # None once it serves, or was given at the last start already
        )

    @property
    def kind(self) -> Policy:
        """The policy for new versions in the model repository."""
        return "pinned" if self._pinned is not None else "manual" if self._manual else "latest"

    def newest_configured(self) -> VersionRef | None:
        """The newest version of the model that the settings name since this start, or None."""
        return None if self.configured_model is None else self._bundles.newest(self.configured_model)

    def wanted(
        self, active: VersionRef, tried: Collection[VersionRef], failed: Collection[VersionRef] = ()
    ) -> VersionRef | None:
        """The version of the active model to move to, unless it was tried before.

        What has failed does not hide an older version that is newer than the active one; what somebody left
        does.
        """
        if self._pinned is not None:
            return self._wanted_by_settings(active, self._pinned)
        if self._manual:
            return None
        found = self._bundles.newest(active.name, failed)
        if found is None or found == active or found.version < active.version or found in tried:
            return None
        return found

    def _wanted_by_settings(self, active: VersionRef, version: int) -> VersionRef | None:
        """The version that the settings name, once after each start; it may have served before."""
        if version == active.version:
            self._tried_pin = version  # what is activated from now on stays
        if version == self._tried_pin:
            return None
        try:
            found = self._bundles.find(active.name, version)
        except (NotFound, BundleError, ConfigError) as error:
            if not self._has_missed_pin:
                log.warning(
                    "version %d, which the settings name, is not served, %s is: %s", version, active, error
                )
            self._has_missed_pin = True
            return None
        self._tried_pin = version
        return found
