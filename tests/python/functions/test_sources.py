"""What a source may be, and what of one is refused: what lies or leads outside, what has no bound."""

from __future__ import annotations

import base64
import http.server
import os
import shutil
import socket
import ssl
import stat
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import pytest
from waiting import eventually

from erl import errors
from erl.functions import archives, repositories, sources


def is_running(os_pid: int) -> bool:
    """Whether a process runs: one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{os_pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def read(content: Path, handler: str = "f", **source: Any) -> dict[str, Any]:
    said = {"code_src": None, "code": None, "base64": None, **source}
    return sources.read(str(content), handler, source.pop("init", None), **said)


def files(content: Path) -> dict[str, str]:
    return {
        str(path.relative_to(content)): path.read_text()
        for path in sorted(content.rglob("*"))
        if path.is_file()
    }


def refusal(content: Path, handler: str = "f", **source: Any) -> str:
    with pytest.raises(errors.EntityError) as raised:
        read(content, handler, **source)
    return str(raised.value)


# Texts


def test_a_text_is_one_module_of_the_name_that_the_handler_says(tmp_path: Path) -> None:
    said = read(tmp_path / "a", code="def f(): return 'é'\n")
    assert files(tmp_path / "a") == {"main.py": "def f(): return 'é'\n"}
    assert (said["kind"], said["uri"], len(said["hash"])) == ("text", None, 64)
    read(tmp_path / "b", "mine:f", code="x = 1")
    assert files(tmp_path / "b") == {"mine.py": "x = 1"}


def test_a_text_in_base64_is_the_same_source(tmp_path: Path) -> None:
    code = "def f(): return 1\n" * 10
    plain = read(tmp_path / "a", code=code)
    for number, encoded in enumerate(
        (base64.b64encode(code.encode()).decode(), base64.encodebytes(code.encode()))
    ):
        assert read(tmp_path / str(number), base64=encoded)["hash"] == plain["hash"]
    assert "base64" in refusal(tmp_path / "c", base64="no base64!")
    assert "base64" in refusal(tmp_path / "d", base64=7)


def test_texts_that_are_none_and_two_sources_are_refused(tmp_path: Path) -> None:
    assert "UTF-8" in refusal(tmp_path / "a", code="\ud800")
    assert "text" in refusal(tmp_path / "b", code=b"x")
    assert "name one" in refusal(tmp_path / "c", code="x", base64="eA==")
    assert "one module" in refusal(tmp_path / "d", "pkg.mod:f", code="x")


@pytest.mark.parametrize(
    "handler",
    ["", ":f", "m:", "m::f", "../m:f", "m/n:f", "f()", "1f", "a b", "m:f\n", "f" * 501, 7, None, "m:..f"],
)
def test_what_is_no_handler_is_refused(handler: Any) -> None:
    with pytest.raises(errors.EntityError, match="module:function"):
        sources.check_handler(handler, "handler")


# Files and folders


def test_a_file_is_itself_alone(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text("def f(): pass\n")
    (tmp_path / "beside.py").write_text("secret = 1\n")
    read(tmp_path / "a", code_src=str(tmp_path / "work.py"))
    assert files(tmp_path / "a") == {"work.py": "def f(): pass\n"}
    read(tmp_path / "b", "work:f", code_src=tmp_path / "work.py")
    assert "module work" in refusal(tmp_path / "c", "beside:f", code_src=str(tmp_path / "work.py"))


def test_a_folder_is_its_files_without_what_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for name in (
        "main.py",
        "pkg/__init__.py",
        "pkg/deep/mod.py",
        "data.txt",
        ".git/config",
        "__pycache__/a.pyc",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    said = read(tmp_path / "a", code_src=str(folder))
    assert set(files(tmp_path / "a")) == {"main.py", "pkg/__init__.py", "pkg/deep/mod.py", "data.txt"}
    assert said["kind"] == "folder"
    read(tmp_path / "b", "pkg.deep.mod:f", code_src=str(folder))
    assert "no module pkg.other" in refusal(tmp_path / "c", "pkg.other:f", code_src=str(folder))
    # Another byte, another name: another hash.
    (folder / "data.txt").rename(folder / "data2.txt")
    assert read(tmp_path / "d", code_src=str(folder))["hash"] != said["hash"]


def test_a_folder_without_a_main_module_wants_the_module_named(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    assert "none beside" in refusal(tmp_path / "a", code_src=str(folder))
    (folder / "one.py").write_text("")
    read(tmp_path / "b", code_src=str(folder))
    (folder / "two.py").write_text("")
    assert "it has one, two" in refusal(tmp_path / "c", code_src=str(folder))


@pytest.mark.parametrize("kind", ["link", "link out", "folder link", "pipe", "socket", "unreadable"])
def test_what_is_no_file_in_a_folder_is_refused(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "main.py").write_text("def f(): pass\n")
    odd = folder / "odd"
    if kind == "link":
        odd.symlink_to("main.py")
    elif kind == "link out":
        odd.symlink_to("/etc/passwd")
    elif kind == "folder link":
        odd.symlink_to("/etc")
    elif kind == "pipe":
        os.mkfifo(odd)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            os.chdir(folder)
            bound.bind("odd")
    else:
        odd.write_text("")
        odd.chmod(0)
        if os.geteuid() == 0:
            return  # root reads everything
    assert "odd" in refusal(tmp_path / "a", code_src=str(folder))


def test_too_many_files_and_too_many_bytes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(4):
        (folder / f"m{number}.py").write_text("x" * 100)
    monkeypatch.setattr(sources, "MOST_FILES", 3)
    assert "more than 3 files" in refusal(tmp_path / "a", "m0:f", code_src=str(folder))
    monkeypatch.setattr(sources, "MOST_FILES", 4)
    monkeypatch.setattr(sources, "MOST_BYTES", 399)
    assert "larger" in refusal(tmp_path / "b", "m0:f", code_src=str(folder))
    assert "at most" in refusal(tmp_path / "c", code="x" * 400)
    monkeypatch.setattr(sources, "MOST_BYTES", 400)
    read(tmp_path / "d", "m0:f", code_src=str(folder))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "Source must be provided."),
        ("no/such.py", "does not exist"),
        ("no-such.zip", "does not exist"),
        ("/dev/null", "no source"),
        ("s3://bucket/key", "is a file, a folder"),
        ("https://user:secret@example.org/main.py", "is a file, a folder"),
        ("http://user:secret@example.org/a.git", "https or ssh"),
        ("git://example.org/a.git", "https or ssh"),
        ("git+file:///etc", "https or ssh"),
        ("git+http://example.org/a", "https or ssh"),
        ("git+ext::sh -c touch% x", "https or ssh"),
        ("git+https://-oProxyCommand=touch/x", "host"),
        ("git+ssh://-oProxyCommand=touch@host/x", "user"),
        ("git+https:///nohost", "host"),
        ("git+https://host/a#--upload-pack=x", "no branch"),
        ("git+https://host/a b", "blank"),
        ("git+https://host:port/a", "can't be read"),
    ],
)
def test_what_is_no_source_is_refused_and_no_secret_is_told(tmp_path: Path, source: str, said: str) -> None:
    text = refusal(tmp_path / "a", code_src=source)
    assert said in text
    assert "secret" not in text


# Zips


def zipped(path: Path, *entries: tuple[str, bytes, int]) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data, mode in entries:
            info = zipfile.ZipInfo("x")
            info.filename = info.orig_filename = name
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return str(path)


FILE = stat.S_IFREG | 0o644


def test_a_zip_is_its_files(tmp_path: Path) -> None:
    path = zipped(
        tmp_path / "a.zip",
        ("main.py", b"m", FILE),
        ("pkg/", b"", stat.S_IFDIR),
        ("pkg/mod.py", b"p", 0),
        ("./a/b", b"", FILE),
    )
    said = read(tmp_path / "a", code_src=path)
    assert files(tmp_path / "a") == {"main.py": "m", "pkg/mod.py": "p", "a/b": ""}
    assert said["kind"] == "zip"


@pytest.mark.parametrize(
    ("name", "mode", "why"),
    [
        ("/etc/x.py", FILE, "absolute"),
        ("../x.py", FILE, "leads out"),
        ("a/../../x.py", FILE, "leads out"),
        ("a\\..\\x.py", FILE, "absolute"),
        ("C:/x.py", FILE, "absolute"),
        ("link.py", stat.S_IFLNK | 0o777, "a link"),
        ("device", stat.S_IFCHR | 0o666, "a device"),
        ("pipe", stat.S_IFIFO | 0o666, "a device"),
        ("/".join("a" * 40) + "/x.py", FILE, "deep"),
        ("a" * 300 + ".py", FILE, "can't be unpacked"),
    ],
)
def test_entries_that_are_no_files_inside_are_refused(tmp_path: Path, name: str, mode: int, why: str) -> None:
    path = zipped(tmp_path / "a.zip", ("main.py", b"", FILE), (name, b"/etc/passwd", mode))
    assert why in refusal(tmp_path / "a", code_src=path)


def test_an_archive_that_grows_too_much_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("main.py", bytes(50 << 20), FILE))
    assert os.path.getsize(path) < 1 << 20
    assert "times what its archive has" in refusal(tmp_path / "a", code_src=path)
    many = zipped(tmp_path / "b.zip", *((f"m{number}.py", b"", FILE) for number in range(20)))
    with pytest.raises(errors.EntityError, match="20 entries"):
        archives.read(many, str(tmp_path / "b"), 10, 1 << 20)


def test_an_archive_that_says_less_than_it_has_is_refused(tmp_path: Path) -> None:
    path = Path(zipped(tmp_path / "a.zip", ("main.py", bytes(3 << 20), FILE)))
    data = path.read_bytes()
    # The sizes in both headers: ten bytes.
    path.write_bytes(data.replace((3 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    refusal(tmp_path / "a", code_src=str(path))


def test_damaged_archives_are_refused_whatever_they_are(tmp_path: Path) -> None:
    whole = Path(zipped(tmp_path / "a.zip", ("main.py", b"def f(): return 1\n" * 50, FILE))).read_bytes()
    for number, place in enumerate(range(0, len(whole), 7)):
        for what, data in (("cut", whole[:place]), ("turned", whole[:place] + b"\xff" + whole[place + 1 :])):
            path = tmp_path / f"{what}{number}.zip"
            path.write_bytes(data)
            try:
                read(tmp_path / f"out{what}{number}", code_src=str(path))
            except errors.EntityError:
                continue
            assert what == "turned"  # a byte that nobody reads
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = zipped(tmp_path / "twice.zip", ("main.py", b"1", FILE), ("main.py", b"2", FILE))
    assert "unpacked" in refusal(tmp_path / "twice", code_src=twice)


# Repositories


def git(place: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null", "HOME": str(place)},
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository behind `ssh`, which here runs on this machine what it is asked for."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    place = tmp_path / "repository"
    place.mkdir()
    git(place, "init", "--quiet", "--initial-branch=main")
    (place / "main.py").write_text("def f(): return 1\n")
    git(place, "add", ".")
    git(place, "commit", "--quiet", "--message=one")
    ssh = tmp_path / "ssh"
    ssh.write_text(
        f"#!{sys.executable}\nimport os, sys\nopen({str(tmp_path / 'asked')!r}, 'a').write(repr(sys.argv) + chr(10))\n"
        "os.execvp('sh', ['sh', '-c', sys.argv[-1]])\n"
    )
    ssh.chmod(0o700)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(ssh))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    # What a hook of somebody's would have, and what would lead git elsewhere.
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_WORK_TREE", "/nowhere")
    return place


def test_a_repository_is_one_commit_without_its_history(tmp_path: Path, repository: Path) -> None:
    first = git(repository, "rev-parse", "HEAD")
    git(repository, "branch", "old")
    (repository / "main.py").write_text("def f(): return 2\n")
    git(repository, "commit", "--quiet", "--all", "--message=two")
    url = f"git+ssh://me@host{repository}"
    said = read(tmp_path / "a", code_src=url)
    assert said["commit"] == git(repository, "rev-parse", "HEAD")
    assert said["uri"] == f"git+ssh://host{repository}"
    assert files(tmp_path / "a") == {"main.py": "def f(): return 2\n"}
    said = read(tmp_path / "b", code_src=f"{url}#old")
    assert (said["commit"], said["uri"]) == (first, f"git+ssh://host{repository}#old")
    assert files(tmp_path / "b") == {"main.py": "def f(): return 1\n"}
    assert not (tmp_path / "a.git").exists()


def test_nothing_of_a_repository_is_run_or_followed(tmp_path: Path, repository: Path) -> None:
    ran = tmp_path / "ran"
    hooks = repository / "hooks"
    hooks.mkdir()
    for name in ("post-checkout", "post-merge"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {ran}\n")
        (hooks / name).chmod(0o755)
    (repository / "link.py").symlink_to("/etc/passwd")
    (repository / ".gitmodules").write_text('[submodule "s"]\n\tpath = s\n\turl = ssh://host/submodule\n')
    (repository / ".gitattributes").write_text("*.py filter=evil\n")
    git(repository, "add", ".")
    commit = git(repository, "rev-parse", "HEAD")
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{commit},s")
    git(repository, "commit", "--quiet", "--message=hostile")
    read(tmp_path / "a", code_src=f"git+ssh://host{repository}")
    assert not ran.exists()
    assert "submodule" not in (tmp_path / "asked").read_text()
    assert not any(path.is_symlink() for path in (tmp_path / "a").rglob("*"))


def test_what_git_says_is_told_without_credentials(tmp_path: Path, repository: Path) -> None:
    text = refusal(tmp_path / "a", code_src=f"git+ssh://someone:hidden@host{repository}/none")
    assert "git fetch has failed" in text
    assert "hidden" not in text
    assert "someone" not in text.replace("pytest", "")
    assert not (tmp_path / "a.git").exists()
    # Nobody listens there.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        text = refusal(tmp_path / "b", code_src=f"git+https://token:x-oauth@127.0.0.1:{port}/a.git")
    assert "git fetch has failed" in text
    assert "token" not in text
    assert "x-oauth" not in text


def test_a_repository_that_takes_too_long_ends_with_what_it_has_started(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = tmp_path / "slow"
    ssh.write_text(f"#!/bin/sh\necho $$ > {tmp_path / 'pid'}\nexec sleep 1000\n")
    ssh.chmod(0o700)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(ssh))
    monkeypatch.setattr(repositories, "_SECONDS", 2.0)
    assert "takes longer" in refusal(tmp_path / "a", code_src=f"git+ssh://host{repository}")
    started = tmp_path / "pid"
    if started.exists():
        eventually(lambda: not is_running(int(started.read_text())), 60)


def test_a_repository_that_is_too_large_is_refused(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "large.bin").write_bytes(os.urandom(1 << 20))
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--message=large")
    monkeypatch.setattr(sources, "MOST_BYTES", 1 << 19)
    assert "larger" in refusal(tmp_path / "a", code_src=f"git+ssh://host{repository}")


class Served(http.server.BaseHTTPRequestHandler):
    """Git's own server behind HTTP, for who has the password."""

    place: ClassVar[Path]
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        self.asked.append(self.headers.get("Authorization", ""))
        if self.asked[-1] != "Basic " + base64.b64encode(b"me:p@ss-word").decode():
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic realm=x")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        done = subprocess.run(
            ["git", "http-backend"],
            input=body,
            capture_output=True,
            timeout=60,
            check=True,
            env={
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(self.place),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            },
        ).stdout
        head, _, data = done.partition(b"\r\n\r\n")
        self.send_response(200)
        for line in head.decode().splitlines():
            name, _, value = line.partition(": ")
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def test_a_password_is_used_and_not_kept(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    name = "-subj /CN=localhost -addext subjectAltName=DNS:localhost"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 {name}"
    subprocess.run(
        [*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=60
    )
    monkeypatch.setenv("GIT_SSL_CAINFO", str(certificate))
    monkeypatch.setattr(Served, "place", repository.parent, raising=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with http.server.ThreadingHTTPServer(("localhost", 0), Served) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"localhost:{server.server_address[1]}/repository/.git"
            said = read(tmp_path / "a", code_src=f"git+https://me:p%40ss-word@{url}#main")
            wrong = refusal(tmp_path / "b", code_src=f"git+https://me:wrong-one@{url}")
        finally:
            server.shutdown()
            thread.join()
    assert files(tmp_path / "a") == {"main.py": "def f(): return 1\n"}
    assert said["uri"] == f"git+https://{url}#main"
    assert "git fetch has failed" in wrong
    assert not any(secret in f"{said}{wrong}" for secret in ("p%40ss", "p@ss", "wrong-one", "me:"))
