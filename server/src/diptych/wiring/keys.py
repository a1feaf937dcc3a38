"""Open the API keys of a server, for the server itself and for commands that run on its machine."""

from diptych.adapters.files.key_file import USES_FILE, KeyFile
from diptych.core.keys.service import Keys
from diptych.errors import ConfigError
from diptych.settings import LOOPBACK, Settings


def key_file_of(settings: Settings) -> KeyFile:
    """The file of keys that the settings name; it need not exist."""
    uses_file = settings.data_dir / USES_FILE
    return KeyFile(settings.key_file_path, uses_file, keeps_uses=not settings.read_only)


def open_keys(settings: Settings) -> Keys:
    """The keys that a server accepts. Raises ConfigError for a file that is missing or damaged."""
    if settings.key_file is not None and not settings.key_file.is_file():
        raise ConfigError(
            f"DIPTYCH_KEY_FILE: there is no file {settings.key_file}: `diptych keys create --key-file FILE` "
            "makes one"
        )
    api_key = settings.api_key
    keys = Keys(key_file_of(settings), None if api_key is None else api_key.get_secret_value())
    if not keys.required and settings.host not in LOOPBACK and not settings.insecure:
        raise ConfigError(f"host {settings.host} needs API keys, and {settings.key_file_path} is gone")
    return keys
