"""The content as it was read and checked once, in one file beside Python's own compiled code, so that a start need not
parse, check and index some 600 files again.

It is a pickle, and reading a pickle runs what it holds. So it stands in the `__pycache__` of the folder of the content:
who can write there can write our code itself. It is read only where nobody else may write it, and only where its key is
that of these very files, of our code, and of the Python and the libraries that read them.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any, Final

_SIZE: Final = 32  # bytes of a SHA-256
# What parses the files, and whose classes are pickled.
_LIBRARIES: Final = ("magnesium-cds", "pydantic", "pydantic-core", "PyYAML")


def compiled_file(root: Path) -> Path:
    """Where the compiled form of the content below `root` stands, as Python's PYTHONPYCACHEPREFIX has it."""
    return Path(cache_from_source(str(root / "content.py"))).with_suffix(".pickle")


def key_of(root: Path) -> bytes:
    """What the compiled form depends on, as 32 bytes: every file of the content, our code, the versions. Raises
    OSError."""
    made = hashlib.sha256(repr((sys.version, *((name, version(name)) for name in _LIBRARIES))).encode())
    code = Path(__file__).parent.parent
    for folder, path in (*_files(root, "*"), *_files(code, "*.py")):
        data = path.read_bytes()
        made.update(f"{path.relative_to(folder).as_posix()}\0{len(data)}\0".encode() + data)
    return made.digest()


def _files(folder: Path, pattern: str) -> Iterator[tuple[Path, Path]]:
    found = (path for path in folder.rglob(pattern) if "__pycache__" not in path.parts)
    return ((folder, path) for path in sorted(found) if path.is_file())


def read_compiled(root: Path, key: bytes) -> Any:
    """What `write_compiled` was given for this key; None where there is nothing for it. A file that is not as it was
    written, or that others could have written, is not used, and the log says so."""
    path = compiled_file(root)
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if _others_write(found, root):
                return _not_used("other accounts can write the compiled content")
            data = file.read()
    except OSError:
        return None
    head, body = data[: 2 * _SIZE], data[2 * _SIZE :]
    if head[:_SIZE] != key:
        return None  # of other files, another version of ours or of Python: a start after a change
    if head[_SIZE:] != hashlib.sha256(body).digest():
        return _not_used("the compiled content is damaged")
    try:
        return pickle.loads(body)  # noqa: S301  see above
    except Exception as error:  # noqa: BLE001  a start must not hang on it
        return _not_used(f"the compiled content cannot be read: {type(error).__name__}")


def _others_write(file: os.stat_result, root: Path) -> bool:
    """Whether one who owns neither the content nor this process could have written it."""
    trusted = 0, os.geteuid(), root.stat().st_uid
    return file.st_uid not in trusted or bool(file.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _not_used(remark: str) -> None:
    import structlog  # it loads much that most commands do without

    from cds_service.logs import configure

    log = structlog.get_logger("magnesium_cds.advice")
    if not structlog.is_configured():
        configure("WARNING")  # on stderr: stdout is for what was asked
    log.warning("compiled content not used", remark=remark)


def write_compiled(root: Path, key: bytes, content: object) -> None:
    """Write it whole or not at all, whoever else writes or reads it now. Where nothing can be written, or Python is
    told to write no compiled code, the next start reads the files again."""
    if sys.dont_write_bytecode:
        return
    path = compiled_file(root)
    body = pickle.dumps(content, pickle.HIGHEST_PROTOCOL)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(key + hashlib.sha256(body).digest() + body)
            Path(name).chmod(0o644)  # as the content: another account may serve it
            Path(name).replace(path)
        except OSError:
            Path(name).unlink(missing_ok=True)
