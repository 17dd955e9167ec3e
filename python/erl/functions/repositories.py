"""Git repositories as sources: one commit of one, by https or ssh, with nothing that it brings being run.

No hooks, no submodules, no prompts; bounded in time and size. What a URL has before its host's @ is used and not kept:
not in the entity, not in an error, not on the command line, which others can see.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from urllib.parse import unquote, urlsplit

from erl import errors
from erl.functions import store

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

_SECONDS: Final = 120.0
_LOOK_SECONDS: Final = 0.05
_MOST_GIT_BYTES: Final = 512 << 20
_REF: Final = re.compile(r"[A-Za-z0-9][\w./+@-]{0,250}")
_HOST: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\]")
_SCP: Final = re.compile(r"([A-Za-z0-9][\w.-]*)@([A-Za-z0-9][A-Za-z0-9.-]*):(?!/?/)([^\s:]+)")
_KEPT: Final = (
    "GIT_SSH",
    "GIT_SSL_",
    "GIT_HTTP_",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
)
"""Variables of git's that stay: how it reaches others."""
_SETTINGS: Final = {
    "core.hooksPath": "/dev/null",
    "core.symlinks": "false",
    "core.fsmonitor": "false",
    "core.longpaths": "false",
    "core.protectNTFS": "false",
    "credential.interactive": "false",
    "fetch.recurseSubmodules": "false",
    "submodule.recurse": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "init.templateDir": "",
    "advice.detachedHead": "false",
}


def is_one(uri: str) -> bool:
    """Whether a source is meant as a git repository, right or wrong."""
    return (
        uri.startswith(("git+", "git://", "ssh://"))
        or bool(_SCP.fullmatch(uri.partition("#")[0]))
        or (uri.startswith(("https://", "http://")) and urlsplit(uri).path.rstrip("/").endswith(".git"))
    )


def read(
    uri: str, content: str, most_files: int, most_bytes: int, without: Callable[[str], bool]
) -> tuple[str, str]:
    """Make the folder `content` of a commit: the URI without credentials, and the commit's name.

    `git+https://host/path#ref`; `ref`, a branch, a tag or a commit, is the remote's own where there is none.
    Raises `errors.EntityError` with git's own words.
    """
    url, shown, secrets, ref = _parsed(uri)
    git = shutil.which("git")
    if git is None:
        raise errors.EntityError(f"{shown}: git is not installed here")
    place = f"{content}.git"
    os.mkdir(place, 0o700)
    try:
        run = _Git(git, place, shown, url, secrets)
        run("init", "--quiet", "--template=")
        run(
            "fetch",
            "--quiet",
            "--depth=1",
            "--no-tags",
            "--no-recurse-submodules",
            "--",
            shown_url(shown),
            ref,
        )
        commit = run("rev-parse", "--verify", "FETCH_HEAD^{commit}").strip()
        run("checkout", "--quiet", "--force", "--detach", commit)
        store.copy(place, content, most_files, most_bytes, without)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return f"{shown}#{ref}" if ref != "HEAD" else shown, commit


def without_credentials(text: str) -> str:
    """A URI, or what is said of some, without what stands before the @ of a host."""
    return re.sub(r"(?<=://)[^/@\s]*@", "", text)


def shown_url(shown: str) -> str:
    """The URL as git is told it."""
    return shown.removeprefix("git+")


def _parsed(uri: str) -> tuple[str, str, list[str], str]:
    """The URL with its credentials, the URI without, what is secret, the ref. Raises `errors.EntityError`."""
    whole, hash_, ref = uri.partition("#")
    url = whole.removeprefix("git+")
    scp = _SCP.fullmatch(url)
    if scp:
        url = f"ssh://{scp[1]}@{scp[2]}/{scp[3]}"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise errors.EntityError(f"the URL of the source can't be read: {error}") from None
    before, at, place = parts.netloc.rpartition("@")
    clean = f"{parts.scheme}://{place}{parts.path}"
    shown = clean if not uri.startswith("git+") else f"git+{clean}"
    if parts.scheme not in ("https", "ssh"):
        raise errors.EntityError(
            f"{shown}: a repository is fetched by https or ssh, git+https:// or git+ssh://"
        )
    if not host or not _HOST.fullmatch(place.partition(":")[0] if not place.startswith("[") else f"[{host}]"):
        raise errors.EntityError(f"{shown}: {host!r} is no host")
    if parts.query or re.search(r"[\s\x00-\x1f]", url):
        raise errors.EntityError(f"{shown}: a repository's URL has no query and no blank")
    if (hash_ and not _REF.fullmatch(ref)) or ".." in ref:
        raise errors.EntityError(f"{shown}: {ref!r:.80} is no branch, tag or commit")
    user, _, password = before.partition(":")
    if before.startswith("-") or re.search(r"[^\w.%~+!$&'()*,;=:-]", before):
        raise errors.EntityError(f"{shown}: what stands before the @ is no user")
    secrets = [each for each in (before, password, unquote(password)) if each]
    if parts.scheme == "https" and at:
        # A token may stand where the user does.
        secrets += [each for each in (user, unquote(user)) if each]
    return url, shown, secrets, ref or "HEAD"


class _Git:
    """Runs git on one directory, with nothing of the surroundings that could have it run something else."""

    def __init__(self, git: str, place: str, shown: str, url: str, secrets: list[str]) -> None:
        self._git = git
        self._place = place
        self._shown = shown
        self._secrets = secrets
        settings = dict(_SETTINGS)
        plain = shown_url(shown)
        if url != plain:
            # Where others can't see it, as they see arguments.
            settings[f"url.{url}.insteadOf"] = plain
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith("GIT_") or key.startswith(_KEPT)
        }
        self._environment = {
            **kept,
            "GIT_ALLOW_PROTOCOL": "https:ssh",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "false",
            "SSH_ASKPASS": "false",
            "SSH_ASKPASS_REQUIRE": "never",
            "GCM_INTERACTIVE": "never",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND")
            or f"{os.environ.get('GIT_SSH') or 'ssh'} -oBatchMode=yes -oConnectTimeout=20",
            "GIT_CEILING_DIRECTORIES": os.path.dirname(place),
            "LC_ALL": "C",
            "GIT_CONFIG_COUNT": str(len(settings)),
            **{f"GIT_CONFIG_KEY_{place}": key for place, key in enumerate(settings)},
            **{f"GIT_CONFIG_VALUE_{place}": value for place, value in enumerate(settings.values())},
        }
        self._until = time.monotonic() + _SECONDS

    def __call__(self, *arguments: str) -> str:
        """What it prints. Raises `errors.EntityError` with what it says."""
        import tempfile

        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as printed:
            process = subprocess.Popen(
                [self._git, *arguments],
                cwd=self._place,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=said,
                env=self._environment,
                start_new_session=True,
            )
            try:
                why = self._await(process)
            finally:
                # What it has started goes with it.
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if why is None and process.returncode == 0:
                printed.seek(0)
                return printed.read(_MOST_TEXT).decode("utf-8", "replace")
            said.seek(0)
            text = self._cut(said.read(_MOST_TEXT).decode("utf-8", "replace").strip())
        raise errors.EntityError(f"{self._shown}: git {arguments[0]} has failed: {why or text}")

    def _await(self, process: subprocess.Popen[bytes]) -> str | None:
        """Why it has to end; None where it has ended."""
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK_SECONDS)
                return None
            if time.monotonic() > self._until:
                return f"it takes longer than {_SECONDS:.0f} s"
            if _size(self._place) > _MOST_GIT_BYTES:
                return f"it is larger than {_MOST_GIT_BYTES >> 20} MiB"

    def _cut(self, text: str) -> str:
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return without_credentials(text)


_MOST_TEXT: Final = 4000


def _size(directory: str) -> int:
    size = 0
    for here, _, files in os.walk(directory):
        for name in files:
            with suppress(OSError):
                size += os.lstat(os.path.join(here, name)).st_size
    return size
