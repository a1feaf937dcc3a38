"""Find environment variables that look like settings but are none. Never shows a value."""

import logging
import re
from collections.abc import Iterator, Mapping

from diptych.argument_parser import nearest_name
from diptych.settings import PREFIX, Settings, is_service_address

LOG = logging.getLogger("diptych")
OTHER_VARIABLES = frozenset(  # variables of Compose, the client, training and tests
    f"{PREFIX}{name}"
    for name in (
        *("PUBLISH", "CPUS", "MEMORY", "TRAINING_MEMORY", "TRAINING_DIR", "SCALE_DIR", "SCALE_SECRET"),
        *("RECIPE", "RUN", "NAME", "PRECISIONS", "PICTURES"),
        *("URL", "TIMEOUT_S"),
        *("CACHE", "DATA", "RUNS_DIR"),
        *("NO_BROWSER", "TOOLS", "TEST_KILL_AT", "TEST_MARK"),
    )
)
# Settings of earlier releases: constants now, or gone with what they chose.
FORMER_SETTINGS = frozenset(
    f"{PREFIX}{name}"
    for name in (
        *("ROLLOUT_SHARE", "KEEP_PREVIOUS", "COLLECTION_PRECISION", "CUDA_GRAPHS", "RECORD_QUERIES"),
        *("IMAGE_URL_TIMEOUT_S", "MAX_IMAGE_URL_FETCHES"),
        *("N_DECODE_THREADS", "MAX_QUEUE_BYTES", "ENCODE_TIMEOUT_S", "LABEL_CACHE_ITEMS"),
        *("HEADER_TIMEOUT_S", "BODY_TIMEOUT_S", "LONG_BODY_TIMEOUT_S", "WRITE_TIMEOUT_S"),
        *("MAX_OPENAI_INPUTS", "MAX_ADD_ITEMS", "MAX_JOB_BYTES", "MAX_ADD_VECTORS"),
        *("MAX_TEXT_CHARS", "MAX_PREDICTIONS"),
    )
)
# Variables that Kubernetes sets in every pod for a Service whose name begins with `diptych`.
_SERVICE_VARIABLE = re.compile(
    rf"{PREFIX}(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_PORT_SERVICE_VARIABLE = re.compile(rf"{PREFIX}(\w+_)?PORT")
_SECRETS = frozenset({"key", "authkey", "accesskey", "token", "apitoken", "authtoken", "secret", "password"})
_SETTINGS = frozenset(f"{PREFIX}{name.upper()}" for name in Settings.model_fields)


def misspelt_setting(environment: Mapping[str, str]) -> str | None:
    """Return a complaint about the first variable that is a misspelt setting, if there is one.

    It must stop the start: a lost API key would open the server.
    """
    for name in _unknown(environment):
        meant = _intended(name)
        if meant is not None and name.upper() not in FORMER_SETTINGS:
            return f"{name} is not a setting, did you mean {meant}? Rename the variable, or remove it"
    return None


def warn_of_unknown(environment: Mapping[str, str]) -> None:
    """Log a warning for each variable that has no effect."""
    for name in _unknown(environment):
        now = "no longer a setting" if name.upper() in FORMER_SETTINGS else "not a setting of the server"
        LOG.warning("%s is %s and has no effect", name, now)


def _unknown(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield unknown names, sorted. As with settings, case is ignored and an empty value counts as unset."""
    known = OTHER_VARIABLES | _SETTINGS
    for name in sorted(environment):
        value, upper = environment[name], name.upper()
        if value and upper.startswith(PREFIX) and upper not in known and not _is_of_service(upper, value):
            yield name


def _is_of_service(name: str, value: str) -> bool:
    is_port = _PORT_SERVICE_VARIABLE.fullmatch(name) is not None and is_service_address(value)
    return is_port or _SERVICE_VARIABLE.fullmatch(name) is not None


def _intended(name: str) -> str | None:
    own_part = name.upper().removeprefix(PREFIX)
    letters = own_part.replace("_", "").lower()
    if letters in _SECRETS or letters.startswith("apikey"):  # such as API_KEY_FILE: it would open the server
        return f"{PREFIX}API_KEY"
    meant = nearest_name(own_part, Settings.model_fields)
    return None if meant is None else f"{PREFIX}{meant.upper()}"
