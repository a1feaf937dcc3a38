"""The committed page says what the committed results say."""

import re
from hashlib import sha256
from pathlib import Path

from diptych_training.study.page import write_page
from diptych_training.study.plan import read_study_plan
from diptych_training.study.prediction import Prediction, WrittenPrediction, prediction_file
from diptych_training.study.results import all_results

ROOT = Path(__file__).parents[4]
RESULTS = ROOT / "training/study/results/full"


def without_budget(page: str) -> str:
    """The budget counts the cells, which need the data set."""
    return re.sub(r"<!-- budget -->.*<!-- /budget -->", "", page, flags=re.DOTALL)


def test_the_page_is_that_of_the_results(tmp_path):
    file = prediction_file(RESULTS)
    page, committed = tmp_path / "study.md", (ROOT / "docs/study.md").read_text()
    page.write_text(committed)
    results = {one.digest: one for one in all_results(RESULTS)}
    stored = Prediction.model_validate_json(file.read_bytes())
    digest = sha256(file.read_bytes()).hexdigest()
    write_page(page, read_study_plan("full"), [], results, WrittenPrediction(stored, digest))
    assert without_budget(page.read_text()) == without_budget(committed)


def test_larger_models_were_measured_after_their_prediction():
    digest = sha256(prediction_file(RESULTS).read_bytes()).hexdigest()
    found = {one.variant: one.prediction for one in all_results(RESULTS / "scaling") if one.prediction}
    assert found == {"w48": digest, "w64": digest}
