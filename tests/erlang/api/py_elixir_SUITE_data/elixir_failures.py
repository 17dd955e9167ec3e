"""Exceptions whose texts and causes are not everyday's."""


def surrogate():
    raise ValueError("half \ud83d of a pair")


def caused(depth):
    try:
        if depth:
            caused(depth - 1)
        raise KeyError("the first")
    except KeyError as error:
        raise ValueError(f"level {depth}") from error
    except ValueError as error:
        raise ValueError(f"level {depth}") from error
