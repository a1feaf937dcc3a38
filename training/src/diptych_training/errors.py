"""Errors of the training package; each says what was wrong, the value and the limit.

DiptychError
├── TrainingConfigError   a configuration that cannot be used; names the key
│   └── RunInUse          another process is training in a run's folder
├── DataError             a data set that is missing, incomplete or contradicts itself
│   └── NoSuchFile        there is none at a path or URL, or none that may be read
├── CheckpointError       a run folder or checkpoint that cannot be read
├── TrainingFailed        training went wrong and must not go on
│   └── RankLost          another process of the same training is gone, or does not answer
├── EvaluationError       nothing to measure, or a stored evaluation that cannot be read
├── ExportError           a model that cannot be made into a bundle
├── TooFewSamples         a proof would have too few images or texts; says how many, and what to do
├── ImportFailed          a checkpoint that cannot be read as what it is; names the flag that says more
└── ParityFailed          an exported precision does not follow the trained model: not published
"""

from diptych.errors import DiptychError


class TrainingConfigError(DiptychError):
    """A configuration that cannot be used; names the key."""


class RunInUse(TrainingConfigError):
    """Another process is training in a run's folder."""


class DataError(DiptychError):
    """A data set that is missing, incomplete or contradicts itself."""


class NoSuchFile(DataError):
    """There is none at a path or URL, or none that may be read."""


class CheckpointError(DiptychError):
    """A run folder or checkpoint that cannot be read."""


class TrainingFailed(DiptychError):
    """Training went wrong and must not go on."""


class RankLost(TrainingFailed):
    """Another process of the same training is gone, or does not answer."""


class EvaluationError(DiptychError):
    """Nothing to measure, or a stored evaluation that cannot be read."""


class ExportError(DiptychError):
    """A model that cannot be made into a bundle."""


class TooFewSamples(DiptychError):
    """A proof would have too few images or texts, however well the model is followed."""


class ImportFailed(DiptychError):
    """A checkpoint that cannot be read as what it is; names the thing, and the flag that says it."""


class ParityFailed(DiptychError):
    """An exported precision does not follow the trained model: it is not published."""
