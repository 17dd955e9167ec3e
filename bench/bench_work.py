"""What the workers do in the benchmark."""


def same(value: object) -> object:
    """The argument."""
    return value


def spin(count: int) -> int:
    """Work for the processor alone."""
    total = 0
    for number in range(count):
        total += number & 7
    return total
