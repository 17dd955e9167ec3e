"""Sources of functions: read when a function is made, and kept as a folder of files with a hash.

A file, a folder, a zip, a git repository, a text, or the same in base64. What leads out of a source (links, `..`,
absolute names), what is no file, and what is too much is refused.
"""

from __future__ import annotations

import os
import re
from base64 import b64decode
from hashlib import sha256

from erl import errors
from erl.functions import archives, loading, repositories, store

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any, Final

MOST_FILES: Final = 10_000
MOST_BYTES: Final = 64 << 20
_MODULE: Final = re.compile(r"[^\W\d][\w-]*(\.[^\W\d][\w-]*)*")
_FUNCTION: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_LEFT_OUT: Final = (
    "__pycache__",
    ".git",
    ".hg",
    ".svn",
    ".venv",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".ipynb_checkpoints",
    "node_modules",
)
"""What a folder has beside its sources."""


def check_handler(handler: object, what: str) -> None:
    """Raises `errors.EntityError` where it is not `f`, `module:f` or `pkg.module:f`."""
    if isinstance(handler, str) and len(handler) <= 500:
        module, function = loading.split(handler)
        if _FUNCTION.fullmatch(function) and (module is None or _MODULE.fullmatch(module)):
            return
    raise errors.EntityError(
        f"{what} is function, module:function or pkg.module:function, not {handler!r:.100}"
    )


def read(
    content: str,
    handler: str,
    init_function: str | None,
    code_src: str | os.PathLike[str] | None,
    code: str | None,
    base64: str | bytes | None,
) -> dict[str, Any]:
    """Make the folder `content` of a source, and say what it is: `kind`, `uri`, `hash`."""
    if sum(each is not None for each in (code_src, code, base64)) > 1:
        raise errors.EntityError("code_src, code and base64 are all the source: name one")
    if code_src is not None:
        said = _read_uri(os.fspath(code_src), content, handler)
    else:
        said = {"kind": "text" if code is not None else "base64", "uri": None}
        _write_text(_encoded(code) if code is not None else _decoded(base64), content, handler)
    for named in (handler, init_function):
        _check_module(content, named)
    return {**said, "hash": hash_of(content)}


def _check_module(content: str, handler: str | None) -> None:
    if handler is None:
        return
    module, _ = loading.split(handler)
    if module is None:
        loading.default_module(content)
    elif not loading.has_module(content, module):
        raise errors.EntityError(f"the source has no module {module} ({handler})")


def hash_of(directory: str) -> str:
    """The hash of all files below a directory, their names and their bytes."""
    digest = sha256()
    for here, folders, files in os.walk(directory):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(here, name)
            relative = os.fsencode(os.path.relpath(path, directory))
            with open(path, "rb") as file:
                data = file.read()
            digest.update(b"%d %d " % (len(relative), len(data)))
            digest.update(relative)
            digest.update(data)
    return digest.hexdigest()


# Texts


def _encoded(code: object) -> bytes:
    if not isinstance(code, str):
        raise errors.EntityError(f"code is a text, not {type(code).__name__}")
    try:
        return code.encode()
    except UnicodeEncodeError as error:
        raise errors.EntityError(f"code can't be written as UTF-8: {error}") from None


def _decoded(base64: object) -> bytes:
    if not isinstance(base64, (str, bytes)):
        raise errors.EntityError(f"base64 is a text, not {type(base64).__name__}")
    try:
        data = base64.encode("ascii") if isinstance(base64, str) else base64
        return b64decode(b"".join(data.split()), validate=True)
    except ValueError as error:
        raise errors.EntityError(f"base64 is not the source in base64: {error}") from None


def _write_text(data: bytes, content: str, handler: str) -> None:
    if len(data) > MOST_BYTES:
        raise errors.EntityError(f"a source has at most {MOST_BYTES >> 20} MiB")
    module, _ = loading.split(handler)
    if module is not None and "." in module:
        raise errors.EntityError(f"a text is one module, module:function, not {handler}")
    os.mkdir(content, 0o700)
    with open(os.path.join(content, f"{module or 'main'}.py"), "xb") as file:
        file.write(data)


# Files, folders, archives, repositories


def _read_uri(uri: str, content: str, handler: str) -> dict[str, Any]:
    if not uri:
        raise errors.EntityError("Source must be provided.")
    if repositories.is_one(uri):
        shown, commit = repositories.read(uri, content, MOST_FILES, MOST_BYTES, is_left_out)
        return {"kind": "git", "uri": shown, "commit": commit}
    if "://" in uri:
        raise errors.EntityError(
            f"{repositories.without_credentials(uri)}: a source is a file, a folder, a zip, or a git repository "
            "(git+https://..., git+ssh://...)"
        )
    path = os.path.abspath(os.path.expanduser(uri))
    if os.path.isdir(path):
        store.copy(path, content, MOST_FILES, MOST_BYTES, is_left_out)
        return {"kind": "folder", "uri": uri}
    if not os.path.exists(path):
        raise errors.EntityError(f"the source {uri} does not exist: there is no file {path}")
    if path.lower().endswith(".zip"):
        archives.read(path, content, MOST_FILES, MOST_BYTES)
        return {"kind": "zip", "uri": uri}
    name = os.path.basename(path)
    if not name.endswith(".py"):
        raise errors.EntityError(f"{uri} is no source: a file ends in .py, an archive in .zip")
    module, _ = loading.split(handler)
    own = name[:-3].replace(".", "_")
    if module is not None and module != own:
        raise errors.EntityError(f"the source {uri} is the module {own}, and the handler is {handler}")
    os.mkdir(content, 0o700)
    store.copy_file(path, os.path.join(content, f"{own}.py"), MOST_BYTES)
    return {"kind": "file", "uri": uri}


def is_left_out(name: str) -> bool:
    """Whether a file or folder of that name is no part of a source."""
    return name in _LEFT_OUT or name.endswith((".pyc", ".pyo"))
