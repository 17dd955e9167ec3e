"""A Python that speaks ErlPort's protocol and has nothing of ours: it reads the tags that ErlPort's own reads, and dies
of any other.

With PEER_CONVERSATION=NAME and PEER_VECTORS=FILE it holds that conversation byte for byte; else it runs the calls.
"""

import importlib
import os
import struct
import sys
import zlib

flags = dict(argument.lstrip("-").partition("=")[::2] for argument in sys.argv[1:])
PACKET = int(flags["packet"])
IN, OUT = (3, 4) if "nouse_stdio" in flags else (0, 1)


class Name(str):
    pass


def read_exactly(count):
    data = b""
    while len(data) < count:
        more = os.read(IN, count - len(data))
        if not more:
            sys.exit(0)
        data += more
    return data


def read_frame():
    return read_exactly(int.from_bytes(read_exactly(PACKET), "big"))


def write_frame(frame):
    data = len(frame).to_bytes(PACKET, "big") + frame
    while data:
        data = data[os.write(OUT, data) :]


def decode(data):
    tag, rest = data[0], data[1:]
    if tag == 97:
        return rest[0], rest[1:]
    if tag == 98:
        return struct.unpack(">i", rest[:4])[0], rest[4:]
    if tag == 70:
        return struct.unpack(">d", rest[:8])[0], rest[8:]
    if tag in (100, 107):
        end = 2 + int.from_bytes(rest[:2], "big")
        return (Name(rest[2:end].decode("latin-1")) if tag == 100 else list(rest[2:end])), rest[end:]
    if tag == 104:
        return several(rest[0], rest[1:], tuple)
    if tag == 106:
        return [], rest
    if tag == 108:
        items, rest = several(int.from_bytes(rest[:4], "big"), rest[4:], list)
        assert rest[0] == 106, "an improper list"
        return items, rest[1:]
    if tag == 109:
        end = 4 + int.from_bytes(rest[:4], "big")
        return rest[4:end], rest[end:]
    if tag == 116:
        items, rest = several(2 * int.from_bytes(rest[:4], "big"), rest[4:], list)
        return dict(zip(items[::2], items[1::2], strict=True)), rest
    if tag == 110:
        digits = rest[2 : 2 + rest[0]]
        return (-1 if rest[1] else 1) * int.from_bytes(digits, "little"), rest[2 + rest[0] :]
    sys.exit(f"unsupported data: {data[:40]!r}")


def several(count, rest, kind):
    items = []
    for _ in range(count):
        item, rest = decode(rest)
        items.append(item)
    return kind(items), rest


def encode(value):
    if isinstance(value, Name):
        return b"d" + len(value).to_bytes(2, "big") + value.encode("latin-1")
    if value is None or isinstance(value, bool):
        return encode(Name({None: "undefined"}.get(value, str(value).lower())))
    if isinstance(value, int):
        return b"b" + struct.pack(">i", value)
    if isinstance(value, str):
        return encode(list(map(ord, value)))
    if isinstance(value, bytes):
        return b"m" + len(value).to_bytes(4, "big") + value
    if isinstance(value, tuple):
        return b"h" + bytes([len(value)]) + b"".join(map(encode, value))
    return (b"l" + len(value).to_bytes(4, "big") + b"".join(map(encode, value)) if value else b"") + b"j"


def receive():
    frame = read_frame()
    assert frame[0] == 131, frame
    body = zlib.decompress(frame[6:]) if frame[1] == 80 else frame[1:]
    return decode(body)[0]


def serve(message):
    kind, *rest = message
    if kind == "C":
        id_, module, function, args = rest
        try:
            value = importlib.import_module(module)
            for name in function.split("."):
                value = getattr(value, name)
            answer = (Name("r"), id_, value(*args))
        except Exception as error:
            name = Name(f"builtins.{type(error).__name__}")
            answer = (Name("e"), id_, (Name("python"), name, str(error), []))
        write_frame(b"\x83" + encode(answer))
    elif kind == "M":
        # As a handler that calls Erlang with what it got, and prints the result.
        write_frame(b"\x83" + encode((Name("C"), 77, Name("lists"), Name("reverse"), [rest[0]], Name("N"))))
        kind, id_, value = receive()
        assert (kind, id_) == ("r", 77), (kind, id_)
        write_frame(b"\x83" + encode((Name("P"), bytes(value).decode())))
    else:
        sys.exit(f"unexpected message: {message!r}")


def hold(name, vectors):
    serve(receive())  # the call that finds out whether there is a Python
    with open(vectors, encoding="utf-8") as lines:
        for line in lines:
            if line.startswith(name + "\t"):
                _name, _half, direction, frame, meaning = line.split("\t")
                if direction == "<":
                    write_frame(bytes.fromhex(frame))
                elif (got := read_frame()) != bytes.fromhex(frame):
                    print(f"{name}: {got!r} came for {meaning}", file=sys.stderr)
                    os._exit(9)
    sys.exit(f"{name}: {read_frame()!r} came after its end")


if "PEER_CONVERSATION" in os.environ:
    hold(os.environ["PEER_CONVERSATION"], os.environ["PEER_VECTORS"])
while True:
    serve(receive())
