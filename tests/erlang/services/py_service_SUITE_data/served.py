"""A handler with a path for each thing that a test wants of one."""

import asyncio
import os
import time
from pathlib import Path


def init(context, greeting, times=1):
    context.user_data.greeting = greeting * times
    context.user_data.inits = getattr(context.user_data, "inits", 0) + 1


def handler(context, event):
    name = event.path.strip("/").replace("-", "_") or "hello"
    return globals()[f"_{name}"](context, event)


def _hello(context, event):
    return "Hello, world!"


def _pid(context, event):
    return str(os.getpid())


def _nap(context, event):
    time.sleep(float(event.fields["seconds"]))
    return str(os.getpid())


def _wait(context, event):
    while not os.path.exists(event.fields["file"]):
        time.sleep(0.01)
    return "waited"


def _die(context, event):
    os._exit(3)


def _fail(context, event):
    raise LookupError("what the client must not see")


def _memory(context, event):
    raise MemoryError("what the client must not see")


def _greet(context, event):
    return {"greeting": context.user_data.greeting, "inits": context.user_data.inits}


def _log(context, event):
    context.logger.warn_with("seen", size=len(event.body))
    return "logged"


def _seen(context, event):
    body = event.body if isinstance(event.body, (dict, list)) else event.body.decode("latin-1")
    return {
        "body": body,
        "method": event.method,
        "path": event.path,
        "content_type": event.content_type,
        "fields": event.fields,
        "id": event.id,
        "header": event.get_header("x-one"),
        "is_time": event.timestamp.year > 2000,
    }


def _made(context, event):
    return context.Response(
        body=b"\x00\xff", headers={"X-Made": "yes"}, content_type="application/octet-stream", status_code=201
    )


def _headers(context, event):
    return context.Response(body="none of these", headers={event.fields["name"]: event.fields["value"]})


def _pieces(context, event):
    def pieces():
        for number in range(3):
            yield f"piece {number};"

    return pieces()


def _broken(context, event):
    def pieces():
        yield "first"
        raise LookupError("in the middle")

    return context.Response(body=pieces())


def _endless(context, event):
    def pieces():
        try:
            while True:
                yield "x" * 1000
                time.sleep(0.01)
        finally:
            Path(event.fields["file"]).write_text("closed")

    return pieces()


def _long(context, event):
    Path(event.fields["file"]).write_text("begun")
    try:
        time.sleep(60)
    finally:
        Path(event.fields["file"]).write_text("ended")
    return "never"


def add(first, second=2):
    return {"sum": first + second}


async def soon(context, event):
    await asyncio.sleep(0.01)
    return {"soon": True}
