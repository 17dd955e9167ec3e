"""A class that has `@`, which no built-in type has."""


class Scalar:
    """A matrix of one row and one column."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __matmul__(self, other: int) -> int:
        return self.value * other
