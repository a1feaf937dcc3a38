"""What a model card says of the classes of the classifier in an image tower for photographs."""

from diptych_training.config import TrainConfig
from diptych_training.config.start import IMAGENET
from diptych_training.models import EfficientNetLiteConfig, ModelConfig, PhotographsAndDrawingsConfig

N_IMAGENET = 1_000
OF_IMAGENET = {
    "classes": "ImageNet's 1,000 classes",
    "examples": ": animals, plants, food, vehicles, tools, furniture, clothes, instruments, buildings",
    "unknown": "people: who they are, what they do or feel, how old they are",
    "lacking": "Famous buildings, brands, breeds and species that ImageNet lacks",
    "photographs": "ImageNet's photographs were collected from the web. Four in ten of its classes are "
    "animals, among them 118 breeds of dogs, and\n  things of everyday life look as they do in the countries "
    "that most pictures are from.",
}


def known_classes(model: ModelConfig, config: TrainConfig) -> dict[str, str]:
    """The keys of the template for photographs and drawings that depend on the classifier.

    Whether its classes are ImageNet's is stated in the recipe; a run that started from another model has
    them if they are as many.
    """
    image, start = model.image, config.start_image
    lite = image.photographs if isinstance(image, PhotographsAndDrawingsConfig) else image
    n = (isinstance(lite, EfficientNetLiteConfig) and lite.classes) or 0
    if n == N_IMAGENET if start is None else start.classes == IMAGENET:
        return OF_IMAGENET
    return {
        "classes": f"the {n:,} classes of its classifier",
        "examples": "",
        "unknown": "people, unless its classes name them: who they are, what they do, how old they are",
        "lacking": "Things that are in none of these classes",
        "photographs": "It looks at photographs as its classifier does: what was rare or one-sided in the "
        "photographs that trained it is so here.",
    }
