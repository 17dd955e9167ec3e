"""A module as ErlPort's users write it: it knows nothing of `erl`."""

import datetime
import os
import sys
import time

from erlport.erlang import (
    CallError,
    call,
    cast,
    make_ref,
    self,
    set_decoder,
    set_default_decoder,
    set_default_encoder,
    set_encoder,
    set_message_handler,
)
from erlport.erlterms import Atom, OpaqueObject


def same(value):
    return value


def kinds(*values):
    return [type(value).__name__.encode() for value in values]


def prices(pairs):
    return dict(pairs)


def look_up(content, key):
    return (content[key], list(content))


def is_in_dev_mode():
    return sys.flags.dev_mode


def say(text):
    print(text.to_string())


def parts(module, function, args):
    try:
        return call(module, function, args)
    except CallError as error:
        return (bytes(error.language), bytes(error.type), error.value, error.stacktrace)


def is_opaque(value):
    return isinstance(value, OpaqueObject)


def sleep(seconds):
    time.sleep(seconds)
    return Atom(b"rested")


def die(status):
    os._exit(status)


def whoami():
    return (self(), make_ref())


def apply(module, function, args):
    return call(module, function, args)


def careful(module, function, args):
    try:
        return call(module, function, args)
    except CallError as error:
        _erlang, class_, reason, _stack = error.args[0]
        return (Atom(b"failed"), class_, reason)


def tell(pid, message):
    cast(pid, message)
    return Atom(b"ok")


def echo_messages_to(pid):
    set_message_handler(lambda message: cast(pid, (Atom(b"heard"), message)))
    return Atom(b"ok")


def fail_on_messages():
    def handler(message):
        raise ValueError(message)

    set_message_handler(handler)
    return Atom(b"ok")


def map_dates():
    def encode(value):
        if isinstance(value, datetime.date):
            return (Atom(b"date"), (value.year, value.month, value.day))
        return value

    def decode(value):
        if isinstance(value, tuple) and len(value) == 2 and value[0] == Atom(b"date"):
            return datetime.date(*value[1])
        return value

    set_encoder(encode)
    set_decoder(decode)
    return Atom(b"ok")


def map_nothing():
    set_default_encoder()
    set_default_decoder()
    return Atom(b"ok")


def tomorrow(day):
    return day + datetime.timedelta(days=1)
