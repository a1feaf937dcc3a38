"""What some commands need and not every installation has; knows nothing of what it is for."""

from importlib import import_module

from diptych.errors import ConfigError


def require_parquet() -> None:
    """Raises ConfigError that says what to install, unless Parquet files can be read and written."""
    try:
        import_module("pyarrow.parquet")
    except ImportError as error:
        raise ConfigError(
            "Parquet files need pyarrow, which is not installed here: "
            "pip install -e clients/python -e 'server[parquet]', in the repository"
        ) from error
