"""Grids: meta, columns with a name and meta of their own, and rows of one cell for each column.

A grid never changes. It holds its cells by row or by column, as they came, and the other way once that is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, NoReturn

    Meta = Mapping[Any, Any]
    _Row = Mapping[str, Any]
else:
    _Row = Mapping


class Col:
    """A column's name and meta."""

    __slots__ = ("_meta", "name")
    name: str

    def __init__(self, name: str, meta: Meta | None = None) -> None:
        if not isinstance(name, str):
            raise TypeError(f"the name of a column is a str, not {name!r}")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "_meta", checked_meta(meta))

    @property
    def meta(self) -> Meta:
        """The column's meta, read-only."""
        return MappingProxyType(self._meta)  # type: ignore[attr-defined]

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a column is immutable: make another one")

    def __eq__(self, other: object) -> bool:
        if type(other) is Col:
            return (self.name, self.meta) == (other.name, other.meta)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"Col({self.name!r}, {dict(self.meta)!r})" if self.meta else f"Col({self.name!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Col, (self.name, dict(self.meta))


class Row(_Row):
    """A row of a grid, read-only: a mapping from the names of the columns to the cells. A cell that is not there is
    None.
    """

    __slots__ = ("_cells", "_grid")

    def __init__(self, grid: Grid, cells: list[Any]) -> None:
        self._grid = grid
        self._cells = cells

    @property
    def cells(self) -> tuple[Any, ...]:
        """The cells in the order of the columns."""
        return tuple(self._cells)

    def __getitem__(self, name: str) -> Any:
        return self._cells[self._grid._places[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._grid.names)

    def __len__(self) -> int:
        return len(self._cells)

    def __repr__(self) -> str:
        return f"Row({dict(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


class Grid:
    """A table: `meta`, `cols` and `rows`.

    `cols` are names, `Col`s or `(name, meta)`; `rows` are sequences of one cell for each column, or mappings from names
    to cells. Raises ValueError for two columns of one name, and for a row that does not fit the columns.
    """

    __slots__ = ("_columns", "_meta", "_places", "_rows", "_size", "cols")
    cols: tuple[Col, ...]
    _columns: list[list[Any]] | None
    _meta: dict[Any, Any]
    _places: dict[str, int]
    _rows: list[list[Any]] | None
    _size: int

    def __init__(self, cols: Iterable[Any] = (), rows: Iterable[Any] = (), meta: Meta | None = None) -> None:
        fill(self, checked_cols(cols), checked_meta(meta))
        filled = [cells_of(self._places, row) for row in rows]
        _put(self, "_rows", filled)
        _put(self, "_size", len(filled))

    @staticmethod
    def from_dataframe(frame: Any) -> Grid:
        """The grid of a DataFrame of pandas or polars. Raises TypeError for anything else, ValueError for two columns
        of one name.
        """
        return GridBuilder.from_dataframe(frame).to_grid()

    def to_dataframe(self) -> Any:
        """The grid as a `pandas.DataFrame`. Raises ImportError where there is no pandas."""
        from erl.haystack.frames import pandas_frame

        return pandas_frame(self.cols, by_column(self), dict(self._meta), len(self))

    @property
    def meta(self) -> Meta:
        """The grid's meta, read-only."""
        return MappingProxyType(self._meta)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(self._places)

    @property
    def rows(self) -> list[Row]:
        """The rows, each a mapping from names to cells."""
        return [Row(self, cells) for cells in by_row(self)]

    def col(self, name: str) -> Col:
        """The column of this name. Raises KeyError."""
        return self.cols[self._places[name]]

    def column(self, name: str) -> list[Any]:
        """The cells of the column of this name. Raises KeyError."""
        place = self._places[name]
        if self._columns is not None:
            return list(self._columns[place])
        return [cells[place] for cells in by_row(self)]

    def __len__(self) -> int:
        return self._size

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, index: int) -> Row:
        if self._rows is None and self._columns is not None:
            return Row(self, [column[index] for column in self._columns])
        return Row(self, by_row(self)[index])

    def __iter__(self) -> Iterator[Row]:
        return (Row(self, cells) for cells in by_row(self))

    def __contains__(self, name: object) -> bool:
        """Whether there is a column of this name."""
        return name in self._places

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a grid is immutable: make another one with a GridBuilder")

    def __eq__(self, other: object) -> bool:
        if type(other) is Grid:
            return (self._meta, self.cols) == (other._meta, other.cols) and by_row(self) == by_row(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # its cells may change

    def __repr__(self) -> str:
        return f"<Grid of {self._size} rows: {', '.join(self.names)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return made, (self.cols, self._meta, by_row(self))


class GridBuilder:
    """Makes a grid step by step: each method but the last returns the builder."""

    def __init__(self) -> None:
        self._meta: dict[Any, Any] = {}
        self._cols: dict[str, Col] = {}
        self._rows: list[list[Any]] = []
        self._columns: list[list[Any]] | None = None

    @staticmethod
    def from_dataframe(frame: Any) -> GridBuilder:
        """A builder with the columns and rows of a DataFrame, to add meta to. Raises as `Grid.from_dataframe` does."""
        from erl.haystack.frames import taken_apart

        builder = GridBuilder()
        meta, cols, columns = taken_apart(frame)
        builder.set_meta(meta)
        for name, col_meta in cols:
            builder.add_col(name, col_meta)
        builder._columns = columns
        return builder

    def set_meta(self, meta: Meta) -> GridBuilder:
        """Replace the grid's meta."""
        self._meta = checked_meta(meta)
        return self

    def add_col(self, name: str, meta: Meta | None = None) -> GridBuilder:
        """Add a column. Raises ValueError after the first row and for a name that is taken."""
        if self._rows or self._columns:
            raise ValueError("columns come before rows")
        if name in self._cols:
            raise ValueError(f"two columns are named {name!r}")
        self._cols[name] = Col(name, meta)
        return self

    def add_col_names(self, names: Iterable[str]) -> GridBuilder:
        """Add columns without meta."""
        for name in names:
            self.add_col(name)
        return self

    def set_col_meta(self, name: str, meta: Meta) -> GridBuilder:
        """Replace the meta of a column. Raises KeyError where there is none of this name."""
        self._cols[name] = Col(self._cols[name].name, meta)
        return self

    def add_row(self, cells: Any) -> GridBuilder:
        """Add a row: a sequence of one cell for each column, or a mapping from names to cells."""
        if self._columns is not None:
            self._rows = transposed(self._columns)
            self._columns = None
        places = {name: place for place, name in enumerate(self._cols)}
        self._rows.append(cells_of(places, cells))
        return self

    def to_grid(self) -> Grid:
        """The grid of what was added so far."""
        cols, meta = tuple(self._cols.values()), dict(self._meta)
        if self._columns is not None:
            return made(cols, meta, columns=self._columns)
        return made(cols, meta, rows=[list(cells) for cells in self._rows])


# For the modules of the package and the codec, which know that what they give fits.


def made(
    cols: tuple[Col, ...],
    meta: dict[Any, Any],
    rows: list[list[Any]] | None = None,
    columns: list[list[Any]] | None = None,
) -> Grid:
    """A grid that holds these lists themselves: either rows or columns."""
    grid: Grid = Grid.__new__(Grid)
    fill(grid, cols, meta)
    _put(grid, "_rows", rows)
    _put(grid, "_columns", columns)
    size = len(rows) if rows is not None else len(columns[0]) if columns else 0
    _put(grid, "_size", size)
    return grid


def fill(grid: Grid, cols: tuple[Col, ...], meta: dict[Any, Any]) -> None:
    """All of a grid but its cells. Raises ValueError for two columns of one name."""
    places = {col.name: place for place, col in enumerate(cols)}
    if len(places) != len(cols):
        names = [col.name for col in cols]
        raise ValueError(f"two columns are named {next(name for name in names if names.count(name) > 1)!r}")
    _put(grid, "cols", cols)
    _put(grid, "_meta", meta)
    _put(grid, "_places", places)
    _put(grid, "_columns", None)


def by_row(grid: Grid) -> list[list[Any]]:
    """The grid's own list of rows, not to be changed."""
    if grid._rows is None:
        _put(grid, "_rows", transposed(grid._columns or []))
    rows: list[list[Any]] = grid._rows  # type: ignore[assignment]
    return rows


def by_column(grid: Grid) -> list[list[Any]]:
    """The grid's own lists of cells by column, not to be changed."""
    if grid._columns is None:
        _put(grid, "_columns", transposed(grid._rows or []) or [[] for _ in grid.cols])
    columns: list[list[Any]] = grid._columns  # type: ignore[assignment]
    return columns


def transposed(lists: list[list[Any]]) -> list[list[Any]]:
    """Rows of columns, columns of rows."""
    import gc

    collecting = gc.isenabled()
    gc.disable()  # a million small lists are no garbage
    try:
        return list(map(list, zip(*lists, strict=True)))
    finally:
        if collecting:
            gc.enable()


def checked_meta(meta: Any) -> dict[Any, Any]:
    """A dict of the meta's own. Raises TypeError for what is no mapping, or has keys that are no text."""
    if meta is None:
        return {}
    if not (isinstance(meta, Mapping) and all(isinstance(key, str) for key in meta)):
        raise TypeError("meta is a mapping whose keys are str")
    return dict(meta)


def checked_cols(cols: Iterable[Any]) -> tuple[Col, ...]:
    """Columns from names, `Col`s and pairs."""
    return tuple(
        col if type(col) is Col else Col(*col) if isinstance(col, tuple) else Col(col) for col in cols
    )


def cells_of(places: dict[str, int], row: Any) -> list[Any]:
    """The cells of a row in the order of the columns. Raises ValueError where the row does not fit."""
    if isinstance(row, Mapping):
        unknown = [name for name in row if name not in places]
        if unknown:
            raise ValueError(f"there is no column {unknown[0]!r}")
        return [row.get(name) for name in places]
    cells = list(row)
    if len(cells) != len(places):
        raise ValueError(f"a row of {len(cells)} cells in a grid of {len(places)} columns")
    return cells


_put = object.__setattr__
