"""Tell whether a version can be served here, by its manifest alone, before any of it is loaded."""

from diptych.bundle.manifest import Manifest

UNGATED = "it was built ungated, its parity is unknown: see --allow-ungated"


class MachineSupport:
    """Which versions this machine can serve, as far as that is known. ONNX graphs can be tried anywhere."""

    def __init__(self, *, allow_ungated: bool = False) -> None:
        self._allow_ungated = allow_ungated
        self._refused: dict[tuple[str, int], tuple[Manifest, str]] = {}

    def refuse(self, manifest: Manifest, reason: str) -> None:
        """Record that this version was tried and cannot be served here."""
        self._refused[manifest.name, manifest.version] = manifest, reason

    def why_not_served(self, manifest: Manifest) -> str | None:
        """Return why the version cannot be served here; None if it is worth a try."""
        refused, reason = self._refused.get((manifest.name, manifest.version), (None, ""))
        return reason if refused == manifest else self.why_unsuitable(manifest)

    def why_unsuitable(self, manifest: Manifest) -> str | None:
        """Return why the settings exclude the version, whether or not it was tried; None if not."""
        if manifest.ungated and not self._allow_ungated:
            return UNGATED
        return None
