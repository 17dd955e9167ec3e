"""The port program, `python -m erl`: flags in, a `server.Server` on two descriptors out.

`node` and `submit` are commands of `erl.link`, `functions` of `erl.functions`; `page` is
the program of `erl.serving` that the node starts.
"""

from __future__ import annotations

import sys

_USAGE = """\
usage: python -m erl [--packet=1|2|4] [--use_stdio|--nouse_stdio] [--compressed=0..9] [--buffer_size=BYTES] [--py]
       python -m erl node [status|stop] ...      a node for Python programs; node --help
       python -m erl submit ... python FILE ...  a script with a link to a node; submit --help
       python -m erl functions run|runs|logs|build|stop ...  runs of stored functions; functions --help

The port program of py (Python for the Erlang ecosystem). Erlang starts it; started by hand it waits for frames:
the Erlang external term format behind a big-endian length, as the ErlPort protocol has it.

  --packet=N           bytes of a frame's length (4)
  --use_stdio          frames on descriptors 0 and 1 (the default)
  --nouse_stdio        frames on descriptors 3 and 4
  --compressed=LEVEL   compress what is sent; 0 to 9, true or false (0)
  --buffer_size=BYTES  how much is read at first (65536)
  --py                 tagged values, references and signed pickles; without it, ErlPort's own mapping
  --one-heap           memory from one heap: what is free of it can be had for anything
  --check              import everything, say which codec is in use, and end
  --help, --version
"""


class _Flags:
    packet = 4
    use_stdio = True
    compressed = 0
    buffer_bytes = 65536
    py = False
    one_heap = False


def _parse(arguments: list[str]) -> _Flags:
    flags = _Flags()
    # ErlPort's Erlang side has them where the interpreter is named with our program: `{python, "python3 -m erl"}`.
    if arguments[:1] == ["-u"]:
        arguments = arguments[1:]
    if arguments[:1] == ["-m"]:
        arguments = arguments[2:]
    for argument in arguments:
        name, _, value = argument.partition("=")
        try:
            if name == "--packet" and value in ("1", "2", "4"):
                flags.packet = int(value)
            elif name in ("--use_stdio", "--nouse_stdio") and not value:
                flags.use_stdio = name == "--use_stdio"
            elif name == "--compressed":
                flags.compressed = {"true": 6, "false": 0}.get(value) or int(value if value != "false" else 0)
            elif name == "--buffer_size" and int(value) > 0:
                flags.buffer_bytes = int(value)
            elif argument == "--py":
                flags.py = True
            elif argument == "--one-heap":
                flags.one_heap = True
            else:
                raise ValueError
            if not 0 <= flags.compressed <= 9:
                raise ValueError
        except ValueError:
            sys.exit(f"python -m erl: can't use the argument {argument!r}\n\n{_USAGE}")
    return flags


def _need_erlang_py(is_asked: bool) -> None:
    """Look for it; it is imported by the first term that takes it. A check imports it now."""
    if not _has_erlang_py() or not (is_asked or hasattr(__import__("erlang"), "binary_to_term")):
        # The application asks again, by `--check`, and says it in its own words.
        sys.exit(
            1
            if is_asked
            else f"{sys.executable} lacks erlang-py, which py needs to read Erlang terms.\n"
            f"Install it there: {sys.executable} -m pip install erlang-py"
        )


def _has_erlang_py() -> bool:
    if "erlang" in sys.modules:
        return sys.modules["erlang"] is not None
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        found = None if find is None else find("erlang", None)
        if found is not None:
            return found.origin is not None  # any directory `erlang` on the path is found, too
    return False


def _zygote_of(arguments: list[str]) -> tuple[str, list[str]] | None:
    """Of `--zygote=SOCKET MODULE...`: where it listens, and what it imports."""
    name, _, path = arguments[0].partition("=") if arguments else ("", "", "")
    return (path, arguments[1:]) if name == "--zygote" else None


def main() -> None:
    """Serve on the descriptors that the flags in `sys.argv` name, until Erlang closes them."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["node"]:
        from erl.link import node_command

        sys.exit(node_command.run(arguments[1:]))
    if arguments[:1] == ["submit"]:
        from erl.link import submit_command

        sys.exit(submit_command.run(arguments[1:]))
    if arguments[:1] == ["functions"]:
        from erl.functions import command

        sys.exit(command.run(arguments[1:]))
    if arguments[:1] == ["page"]:
        from erl.serving import page

        sys.exit(page.run())
    if arguments[:1] == ["--front"]:
        from erl.serving import front

        front.main()
        return
    if "--help" in arguments or "-h" in arguments:
        print(_USAGE, end="")
        return
    if "--version" in arguments:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print("erl-bridge", version("erl-bridge"))
        except PackageNotFoundError:
            print("erl-bridge, not installed: run from a source tree")
        return
    if "--doctor" in arguments:
        from erl.runtime import doctor

        print("\n".join(doctor.report()))
        return
    if "--py" in arguments or "--check" in arguments or _zygote_of(arguments):
        _need_erlang_py("--check" not in arguments)
    import gc

    collects = gc.isenabled()
    gc.disable()  # what is loaded here is no garbage, now and later
    from erl import codec
    from erl.calls import worker
    from erl.names import bytecode, finder
    from erl.runtime import limits, server
    from erl.terms import Atom
    from erl.values.scope import current
    from erl.wire import port

    gc.freeze()
    if collects:
        gc.enable()

    if "--check" in arguments:
        print(f"{sys.executable}: Python {sys.version.split()[0]}, codec {codec.implementation}")
        return
    zygote = _zygote_of(arguments)
    # The C module: `signal` would import enum for the sake of three numbers.
    from _signal import SIG_IGN, SIGINT, signal  # type: ignore[import-not-found]

    # An interrupt typed in the shell is the shell's; it reaches the whole process group.
    signal(SIGINT, SIG_IGN)
    bytecode.guard()
    sys.meta_path.insert(0, finder.Finder)
    fds = None
    if zygote:
        from erl.runtime import zygote as zygotes

        *fds, sys.argv[1:] = zygotes.run(*zygote)
    flags = _parse(sys.argv[1:])
    in_fd, out_fd = port.take_descriptors(*(fds or ((0, 1) if flags.use_stdio else (3, 4))))
    if flags.py:
        import faulthandler

        # What was running when C code broke the process: the worker keeps the last lines of standard error.
        # Of the thread that did it: with those of the others the first line would not be among them.
        faulthandler.enable(all_threads=False)
    if flags.one_heap:
        limits.one_heap()
    elif flags.py:
        limits.keep_free()
    pipes = port.Port(in_fd, out_fd, flags.packet, flags.buffer_bytes)
    pipes.watch(awaits_bell=flags.py)
    if flags.py:
        current().decoders.register(Atom("$py.source"), worker.source)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 (/dev/null, for as long as the process)
    else:
        from erl.runtime.redirected import RedirectedStdin

        sys.stdin = RedirectedStdin()
    options = codec.Options.from_flags(4) if flags.py else codec.Options.from_flags(20)
    server.Server(pipes, options, flags.compressed).start()


if __name__ == "__main__":
    main()
