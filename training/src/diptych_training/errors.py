"""Errors of the training package; each message names what is wrong, the value and the limit.

DiptychError
├── TrainingConfigError   a configuration that cannot be used; names the key
│   └── RunInUse          another process is training in the run's folder
├── DataError             a data set that is missing, incomplete or contradicts itself
│   └── NoSuchFile        no file at a path or URL, or no permission to read it
├── CheckpointError       a run folder or checkpoint that cannot be read
├── TrainingFailed        training failed and must not continue
│   └── RankLost          another rank of the same training ended or does not answer
├── TooMuchLost           refreshed weights that lose more of the old abilities than allowed: not published
├── NothingGained         a refresh whose old weights are the best: not published
├── EvaluationError       nothing to measure, or a stored evaluation that cannot be read
├── ExportError           a model that cannot be exported as a bundle
├── TooFewSamples         too few images or texts to check an export; says how many are needed
├── ImportFailed          a checkpoint of unknown kind or content; names the flag that helps
│   └── NotConvertible    a checkpoint that can be served but not trained: diptych has no such architecture
├── PushFailed            a published version that did not reach a server; says how to repeat the push
└── ParityFailed          an exported precision that deviates from the trained model: not published
"""

from diptych.errors import DiptychError


class TrainingConfigError(DiptychError):
    """A configuration that cannot be used; names the key."""


class RunInUse(TrainingConfigError):
    """Another process is training in the run's folder."""


class DataError(DiptychError):
    """A data set that is missing, incomplete or contradicts itself."""


class NoSuchFile(DataError):
    """No file at a path or URL, or no permission to read it."""


class CheckpointError(DiptychError):
    """A run folder or checkpoint that cannot be read."""


class TrainingFailed(DiptychError):
    """Training failed and must not continue."""


class RankLost(TrainingFailed):
    """Another rank of the same training ended or does not answer."""


class TooMuchLost(DiptychError):
    """Refreshed weights that lose more of what the old ones knew than allowed."""


class NothingGained(DiptychError):
    """A refresh whose old weights are the best."""


class EvaluationError(DiptychError):
    """Nothing to measure, or a stored evaluation that cannot be read."""


class ExportError(DiptychError):
    """A model that cannot be exported as a bundle."""


class TooFewSamples(DiptychError):
    """Too few images or texts to check an export, however well it follows the model."""


class ImportFailed(DiptychError):
    """A checkpoint of unknown kind or content; names what is wrong, and the flag that helps."""


class NotConvertible(ImportFailed):
    """A checkpoint that can be served but not trained further: diptych has no such architecture."""


class PushFailed(DiptychError):
    """A version cannot be pushed to a server, or was published and did not reach it."""


class ParityFailed(DiptychError):
    """An exported precision deviates from the trained model: it is not published."""
