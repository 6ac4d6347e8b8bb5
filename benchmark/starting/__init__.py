"""The starting files of ``bench new``: a package that runs as it stands, under a name of one's own.

``your_method.py`` is a method like any other, so that it is read, typed and tested like one; only
its names are exchanged.
"""

import keyword
import re
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from benchmark.registry import METHOD_REGISTRY
from metrics.errors import BenchError

FILES = ("pyproject.toml", "README.md", "your_method.py")
PLACE = "your_method"


def write_method(name: str, folder: Path) -> tuple[Path, ...]:
    """Writes a package with a method of that name; the files it wrote.

    Args:
        name: of the method, a Python name in small letters.
        folder: which must not exist yet.

    Raises:
        BenchError: the name is none or taken, or the folder is there or cannot be made.
    """
    _check_name(name)
    written = tuple(folder / each.replace(PLACE, name) for each in FILES)
    texts = [_text(each, name) for each in FILES]
    try:
        folder.mkdir(parents=True)
        for path, text in zip(written, texts, strict=True):
            path.write_text(text, encoding="utf-8")
    except FileExistsError as error:
        raise BenchError(
            f"{folder} exists already and is left as it is; give --out another folder"
        ) from error
    except OSError as error:
        raise BenchError(
            f"{folder} cannot be written ({error.strerror}); give --out a folder that you may "
            "write to"
        ) from error
    return written


def _check_name(name: str) -> None:
    """Nothing, or an error where no module, class and method of that name can be."""
    is_python = re.fullmatch(r"[a-z]([a-z0-9_]*[a-z0-9])?", name) is not None
    if not is_python or keyword.iskeyword(name) or keyword.iskeyword(class_name(name)):
        raise BenchError(
            f"{name!r} cannot be the name of a method: use small letters, digits and _, with a "
            "letter first, no _ last and no word of Python, such as my_method"
        )
    known = METHOD_REGISTRY.names().get(name)
    if known is not None:
        raise BenchError(
            f"{name!r} is a method of {known.distribution} already ({known.target}); choose "
            "another name"
        )
    module = find_spec(name)
    if module is not None and module.origin is not None:  # a folder without code has none
        raise BenchError(
            f"{name!r} is the name of a module that Python finds already ({module.origin}); "
            "choose another name"
        )


def class_name(name: str) -> str:
    """The class of a method's name.

    >>> class_name("my_method2")
    'MyMethod2'
    """
    return "".join(word.capitalize() for word in name.split("_"))


def _text(file: str, name: str) -> str:
    text = files(__package__).joinpath(file).read_text(encoding="utf-8")
    text = text.replace(PLACE.replace("_", "-"), name.replace("_", "-"))
    return text.replace(PLACE, name).replace(class_name(PLACE), class_name(name))
