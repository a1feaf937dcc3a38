"""What words that route change: which pictures texts such as "a photo of a cat" find first.

Drawings: those of `server/gallery`. Photographs: those of `diptych-train data photographs` (gcompris), in the
same collection. Each name is a query once, alone and inside each template. It is right if the first picture
has that name and is of the kind that the template asks for. Prints a markdown table.

PYTHONPATH=tests python -m benchmarks.routing everyday/2
"""

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.inputs import GALLERY
from benchmarks.photographs_and_drawings import (
    Paired,
    Rows,
    drawings,
    embedded,
    paired,
    photograph_dim,
    photographs,
)
from diptych.bundle.repository import ModelRepository
from diptych_training.evaluate.embedding import embed_texts
from diptych_training.evaluate.evaluated_model import EvaluatedModel, load_evaluated_bundle, named_bundle
from diptych_training.paths import cache_dir
from support.documents import ROOT

Kind = Literal["photograph", "drawing"]
# What a template asks for. The recipe teaches those of the first line of each kind, and none of the second.
TEMPLATES: Mapping[str, Kind] = {
    **dict.fromkeys(["a photo of a {}", "{} photo"], "photograph"),
    **dict.fromkeys(["a photograph showing a {}", "{} photography", "a real {}"], "photograph"),
    **dict.fromkeys(["a drawing of a {}", "{} icon", "{} emoji", "{} clip art"], "drawing"),
    **dict.fromkeys(["clip art of a {}", "{} pictogram", "a painted {}"], "drawing"),
}


def p_value(one: Paired) -> float:
    """The two-sided sign test of the discordant pairs."""
    n = one.n_first_only + one.n_second_only
    least = min(one.n_first_only, one.n_second_only)
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(least + 1)) / 2**n)


def shares(texts: Rows, dims: int) -> NDArray[np.float64]:
    """(Q, D) -> (Q,): how much of each embedding is of photographs, the first `dims` numbers."""
    first, rest = (np.linalg.norm(part, axis=1) for part in np.split(texts, [dims], axis=1))
    found: NDArray[np.float64] = first / (first + rest)
    return found


def table(model: EvaluatedModel, dims: int, gallery: Path, folder: Path) -> str:
    """One row a template."""
    drawn, shown = embedded(model, drawings(gallery)), embedded(model, photographs(folder))
    both, is_photograph = (
        drawn.joined(shown),
        np.arange(len(drawn.names) + len(shown.names)) >= len(drawn.names),
    )
    names = {"drawing": sorted(set(drawn.names)), "photograph": sorted(set(shown.names))}
    lines = [
        "| texts | share of photographs | first hit is of that kind: name alone → inside the template | "
        "and has the name | gained, lost |",
        "|---|---|---|---|---|",
    ]
    for template, kind in TEMPLATES.items():
        wanted, is_kind = np.array(names[kind]), is_photograph == (kind == "photograph")
        texts = [
            embed_texts(model.encoder, model.tokenizer, [one.format(name) for name in names[kind]])
            for one in ("{}", template)
        ]
        best = [(rows @ both.rows.T).argmax(axis=1) for rows in texts]
        of_kind = [is_kind[rows] for rows in best]
        right = [
            (np.array(both.names)[rows] == wanted) & kinds for rows, kinds in zip(best, of_kind, strict=True)
        ]
        found = paired(right[1], right[0])
        cells = [
            f"`{template}`",
            " to ".join(f"{share:.2f}" for share in np.quantile(shares(texts[1], dims), [0.05, 0.95])),
            " → ".join(f"{one.mean():.2f}" for one in of_kind),
            " → ".join(f"{one.mean():.3f}" for one in right),
            f"{found.n_first_only}, {found.n_second_only} (p = {p_value(found):.2g})",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", metavar="NAME[/V]", help="a model of photographs and drawings")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--model-repo", type=Path, default=ROOT / "model_repo")
    parser.add_argument("--photographs", type=Path, default=cache_dir() / "photographs" / "gcompris")
    parser.add_argument("--gallery", type=Path, default=GALLERY)
    args = parser.parse_args()
    repository = ModelRepository(args.model_repo)
    name, version = named_bundle(repository, args.bundle)
    dims = photograph_dim(repository.folder(name, version))
    if dims is None:
        parser.error(f"{name}/{version} is no model of photographs and drawings")
    model = load_evaluated_bundle(repository, name, version, precision=args.precision)
    print(table(model, dims, args.gallery, args.photographs))


if __name__ == "__main__":
    main()
