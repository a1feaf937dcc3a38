"""Values that pass between the parts of the server."""

from diptych.core.types import Target, VersionRef
from unit.core.core_fakes import model_info


def test_target_of_a_model_names_its_version_precision_and_where_asked_its_content() -> None:
    target = model_info(name="mine", version=4, bundle="3fa1c0de" * 8, precision="int8").target
    assert target == Target(VersionRef("mine", 4, "3fa1c0de" * 8), "int8", "exact")
    assert (str(target), target.exact) == ("mine/4 in int8", "mine/4 (3fa1c0de) in int8")
