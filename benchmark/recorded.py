"""A finished run as it was: its method with its weights, its data, what finds boxes in pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmark.config import compose, recorded_extractor, recorded_settings
from benchmark.records import Record, read_record
from benchmark.registry import DATA_REGISTRY, DISTRIBUTION, METHOD_REGISTRY
from benchmark.settings import as_words, of_data
from benchmark.stages import WEIGHTS, load_weights
from datamodules.base import ClipData
from datamodules.proposals import Extractor
from methods.base import Method
from methods.floors import Floor
from metrics.errors import BenchError


class Trained(NamedTuple):
    """A method with the weights of a finished run."""

    folder: Path
    record: Record
    method: Method

    @property
    def num_boxes(self) -> int:
        """How many of the best boxes are drawn as the answer."""
        return max(1, self.record.card.boxes)


def load_trained(folder: Path, overrides: Sequence[str] = ()) -> Trained:
    """The method of a finished run, built as the run had it, with its weights, on the CPU.

    No data set is needed. What the run started from, such as ``method.pretrained``, is.

    Args:
        folder: of the run.
        overrides: ``method.key=value``, for files that lie elsewhere now.

    Raises:
        BenchError: the run is not finished, is of a floor or of another version, its method has no
            map, or its weights cannot be loaded; one line names the file.
    """
    if not folder.is_dir():
        raise BenchError(f"{folder} is no folder; give --run the folder of a finished run")
    source = folder / "record.json"
    record = read_record(source)
    weights = folder / "training" / WEIGHTS
    if record.checkpoint is not None and record.checkpoint.kind == "released":
        overrides = (f"method.checkpoint={weights}", *overrides)  # its records hold no path
    method = _built(record, source, overrides)
    if not weights.is_file():
        raise BenchError(f"{weights} does not exist; give --run a folder that has the weights")
    load_weights(method, weights, remedy="give the settings of the run, or run it again (--fresh)")
    return Trained(folder, record, method.eval())


def _built(record: Record, source: Path, overrides: Sequence[str]) -> Method:
    """The method with the settings of a record, its weights still random."""
    if not record.card.localises:
        raise BenchError(
            f"{source.parent} is a run of {record.method} with settings that give no map, only "
            "classes of segments; give --run a run that localises"
        )
    package = record.distribution
    if record.method not in METHOD_REGISTRY.names() and package.name != DISTRIBUTION:
        raise BenchError(
            f"{source.parent} is a run of {record.method!r} of the package {package.name} "
            f"{package.version}, which is not installed; install it"
        )
    method_class: type[Method] = METHOD_REGISTRY.load(record.method, Method)  # type: ignore[type-abstract]
    if issubclass(method_class, Floor):
        raise BenchError(
            f"{source.parent} is a run of {record.method}, a floor, which knows truth and hears "
            "nothing; give --run a run of a trained method"
        )
    settings = recorded_settings(method_class, record, source, overrides)
    return method_class(settings.method, settings.optim, seed=settings.seed)


def extractor_for(trained: Trained, overrides: Sequence[str] = ()) -> Extractor | None:
    """What finds proposals in pictures of the user's own; None where the method asks for none.

    Args:
        trained: of the run whose settings are taken.
        overrides: ``data.key=value`` that say it anew.

    Raises:
        BenchError: see :func:`benchmark.config.recorded_extractor`; any setting where the method
            asks for no proposals.
    """
    if trained.method.inputs.proposals:
        return recorded_extractor(trained.record, overrides)
    if overrides:
        raise BenchError(
            f"{overrides[0]}: {trained.record.method} asks for no proposals, so that files of your "
            "own take no data settings; leave it out"
        )
    return None


def recorded_data(
    record: Record, method: Method, overrides: Sequence[str], stage: str = "test"
) -> ClipData:
    """The data of a run as a method gets them, whether or not it is the run's own."""
    given = {word.partition("=")[0] for word in overrides}
    recorded = {key: value for key, value in of_data(record.config).items() if key not in given}
    words = [*as_words(recorded), *overrides]
    config = compose(record.method, record.data, overrides=words, seed=record.seed)
    kind: type[ClipData] = DATA_REGISTRY.load(record.data, ClipData)  # type: ignore[type-abstract]
    data = kind(config.data, method.inputs, seed=config.seed)
    data.setup(stage)
    if method.inputs.takes_features:
        method.check(data)  # for it may not do without
    return data
