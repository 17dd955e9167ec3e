"""A function, as sources of functions are."""

from digitalhub_runtime_python import handler


@handler(outputs=["sum", "text"])
def add(one, other=2):
    print("adds")
    return one + other, f"{one} and {other}"


def thing():
    return {1, 2}, {"a": [1, None]}


def fails():
    raise ValueError("no tea")


def made(project, code, handler):
    from erl import functions

    found = functions.get_or_create_project(project)
    return found.new_function(name=handler, kind="python", code=code, handler=handler).key.encode()
