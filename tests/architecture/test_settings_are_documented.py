"""Every setting is a flag and is documented with its default; constant limits are documented, too."""

import html

import pytest

from diptych.cli import build_parser
from diptych.core.limits import Limits
from diptych.settings import PREFIX, Settings
from support.documents import DOCS

FLAGS = {"libraries": "--library"}  # which is given once for each
PAGE = (DOCS / "configuration.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_setting_is_documented_and_a_flag(name: str) -> None:
    field = Settings.model_fields[name]
    flag = FLAGS.get(name, f"--{name.replace('_', '-')}")
    start = f"| `{PREFIX}{name.upper()}` |"
    row = next((line for line in PAGE.splitlines() if line.startswith(start)), None)
    assert row is not None, f"{name} is not in docs/configuration.md"
    assert f"`{flag}`" in row
    assert field.description is not None
    assert field.description in html.unescape(row)
    if field.default is not None and field.default != () and not field.default_factory:
        assert f"`{field.default}`" in row
    value = [] if field.annotation is bool else ["1"]
    assert getattr(build_parser().parse_args(["serve", flag, *value]), name)


@pytest.mark.parametrize(
    "name",
    [
        *("max_openai_inputs", "max_add_items", "max_job_bytes", "max_add_vectors"),
        *("max_text_chars", "max_predictions"),
    ],
)
def test_limit_that_is_no_setting_is_documented_with_the_api(name: str) -> None:
    assert name not in Settings.model_fields
    page = (DOCS / "http-api.md").read_text(encoding="utf-8")
    (_, section) = page.split("## Limits\n")
    assert f"| {getattr(Limits(), name):,}" in section
