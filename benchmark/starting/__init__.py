"""The starting files of ``bench new``: a package that runs as it stands, under a name of one's own.

``your_method.py`` is a method like any other, so that it is read, typed and tested like one; only
its names are exchanged.
"""

import keyword
import re
from importlib.resources import files
from pathlib import Path

from metrics.errors import BenchError

FILES = ("pyproject.toml", "README.md", "your_method.py")
PLACE = "your_method"


def write_method(name: str, folder: Path) -> tuple[Path, ...]:
    """Writes a package with a method of that name; the files it wrote.

    Args:
        name: of the method, a Python name in small letters.
        folder: which must not exist yet.

    Raises:
        BenchError: the name is none, or the folder is there or cannot be made.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise BenchError(
            f"{name!r} cannot be the name of a method: use small letters, digits and _, with a "
            "letter first, such as my_method"
        )
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
