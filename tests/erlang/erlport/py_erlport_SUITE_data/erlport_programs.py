"""What programs of ErlPort's users do, each in a few lines: this code knows ErlPort's API and nothing of `erl`."""

import codecs
import json
import threading
from dataclasses import asdict, dataclass, field

import erlport.erlang as erl
from erlport.erlang import CallError, call, cast, set_decoder, set_encoder, set_message_handler
from erlport.erlterms import Atom, List, Map

listener = None


def handle(message):
    """A handler that is set when the module is imported, and answers whoever has registered."""
    command, payload = message
    if command == Atom(b"count"):
        cast(listener, (Atom(b"python"), {Atom(b"keys"): len(payload), Atom(b"names"): sorted(payload)}))
    elif command == Atom(b"thread"):
        threading.Thread(target=tick, args=(payload,), daemon=True).start()


set_message_handler(handle)


def register_handler(pid):
    global listener
    listener = pid
    return Atom("ok".encode("ascii"))


def tick(times):
    for number in range(times):
        erl.cast(listener, (Atom(b"tick"), number))


def translate(value):
    """Erlang's values as Python's own, at every depth."""
    if isinstance(value, List):
        return [translate(item) for item in list(value)]
    if isinstance(value, Map):
        return {translate(key): translate(item) for key, item in dict(value).items()}
    if isinstance(value, Atom):
        return value.decode("utf-8")
    return codecs.decode(value) if isinstance(value, bytes) else value


def answer_to(status):
    """An atom as the bytes that it is; in a pool it is none."""
    command = {b"start": "started", b"stop": "stopped"}[status]
    return (
        status == b"start",
        status + b"ed",
        codecs.decode(status),
        command.encode(),
        status is Atom(b"start"),
    )


def as_json(value):
    return json.dumps(translate(value), sort_keys=True).encode()


def as_bytes(value):
    """Texts as binaries, in a container of the type that there was."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (list, tuple, set)):
        return type(value)(as_bytes(item) for item in value)
    if isinstance(value, dict):
        return {as_bytes(key): as_bytes(item) for key, item in value.items()}
    return value


@dataclass
class Tea:
    name: str
    grams: int
    tags: list = field(default_factory=list)
    __struct__: Atom = Atom(b"Elixir.Shop.Tea")  # noqa: RUF009 (what they write)


def encode(value):
    if isinstance(value, Tea):
        return {Atom(key.encode()): as_bytes(item) for key, item in asdict(value).items()}
    return as_bytes(value)


def decode(value):
    if isinstance(value, Map) and value.get(Atom(b"__struct__")) == Atom(b"Elixir.Shop.Tea"):
        content = {key.decode(): item for key, item in value.items() if key != Atom(b"__struct__")}
        return Tea(content["name"].decode(), content["grams"], [tag.decode() for tag in content["tags"]])
    return value.decode() if isinstance(value, bytes) and not isinstance(value, Atom) else value


def handle_types():
    set_encoder(encode)
    set_decoder(decode)
    return Atom(b"ok")


def double(tea):
    return Tea(tea.name, 2 * tea.grams, [*tea.tags, "double"])


class Text(List):
    """A list of ErlPort's that a program has made its own of."""

    def __init__(self, text):
        super().__init__([ord(character) for character in text] if isinstance(text, str) else text)


def texts():
    return (
        Text("ab") == ["a", "b"],
        isinstance(Text("ab"), List),
        List("ab") == ["a", "b"],
        List([97]).to_string(),
    )


def options(*, depth=1):
    return depth


def with_options(content):
    """A map's items as keyword arguments."""
    return options(**{key.decode(): item for key, item in content.items()})


def safely(module, function, args):
    try:
        return (Atom(b"ok"), call(module, function, args))
    except CallError as error:
        if error.language == b"erlang" and error.type == Atom(b"error"):
            return (Atom(b"error"), error.value)
        return (Atom(b"other"), error.language, error.value)


cache = {}


def remember(key, value):
    """A list, a map, a tuple of them as the key of a dict."""
    cache[key] = value
    return len(cache)
