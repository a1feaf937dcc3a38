"""Draw the failures of a bundle as pictures: drawings of its proof set, and photographs of no training.

The photographs are those of split `proof` in the list of photographs, each as a whole: the same for all
versions. Writes a PNG of at most 200 kB. It needs `diptych-train data proof-photographs`.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from diptych.bundle.repository import ModelRepository
from diptych_training.data.photographs.listed import listed_photographs
from diptych_training.evaluate.evaluated_model import load_evaluated_bundle, named_bundle
from diptych_training.evaluate.proof_set.file import read_proof_set
from diptych_training.evaluate.proof_set.photographs import cropped_photographs
from diptych_training.evaluate.proof_set.proof_set import PROOF
from diptych_training.export.model_card.failures import all_failures, failures_picture
from support.documents import ROOT


def main() -> None:
    """Draw those of one bundle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", metavar="NAME[/V]")
    parser.add_argument("--model-repo", type=Path, default=ROOT / "model_repo")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "figures" / "failures-everyday.png")
    args = parser.parse_args()
    repository = ModelRepository(args.model_repo)
    version = named_bundle(repository, args.bundle)
    proof_set = read_proof_set(repository.folder(*version))
    assert proof_set is not None, f"{args.bundle} has no proof set"
    model = load_evaluated_bundle(repository, *version, precision=args.precision)
    n_photographs = sum(one.is_shared for one in listed_photographs("proof"))
    photographs = cropped_photographs(n_photographs, PROOF, model.image_spec)
    drawings = tuple(one for one in proof_set.sources if one.kind != "pairs")
    found = all_failures(model, replace(proof_set, sources=(*drawings, *photographs)))
    args.out.write_bytes(failures_picture(found, model.name))
    print(args.out)


if __name__ == "__main__":
    main()
