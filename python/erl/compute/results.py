"""What an analysis gives: results by their names, each an array, and a picture where one is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy

if TYPE_CHECKING:
    from collections.abc import Iterator


class AnalysisResult:
    """One result: `raw_data`, `key`, `title`, `desc`. An array where one is wanted."""

    def __init__(
        self, key: str, raw_data: Any, title: str, desc: str, log: bool = False, plot_class: Any = None
    ) -> None:
        self.key = key
        self.raw_data = raw_data
        self.title = title
        self.desc = desc
        self.log = log
        self._plot_class = plot_class

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        made = numpy.asarray(self.raw_data, dtype)
        return made.copy() if copy and made is self.raw_data else made

    def plot(self, **kwargs: Any) -> Any:
        """A figure of matplotlib's with its picture, which needs no display: `.savefig(path)`.

        Raises `ModuleNotFoundError` where there is no matplotlib.
        """
        return _plotted([self], self._plot_class, kwargs)

    def __repr__(self) -> str:
        return f"<AnalysisResult {self.key}: {self.title}>"


class AnalysisResultSet:
    """The results of an analysis: attributes and items by their keys, items by their numbers, an iterable."""

    def __init__(self, results: list[AnalysisResult], plot_class: Any = None) -> None:
        self._results = results
        self._plot_class = plot_class
        for each in results:
            each._plot_class = plot_class

    def __getattr__(self, key: str) -> AnalysisResult:
        if key.startswith("_"):
            raise AttributeError(key)
        for each in self._results:
            if each.key == key:
                return each
        raise AttributeError(f"no result is named {key!r}: there are {', '.join(self.keys())}")

    def __getitem__(self, key: str | int) -> AnalysisResult:
        if isinstance(key, str):
            for each in self._results:
                if each.key == key:
                    return each
            raise KeyError(f"no result is named {key!r}: there are {', '.join(self.keys())}")
        return self._results[key]

    def keys(self) -> list[str]:
        """The names, in their order."""
        return [each.key for each in self._results]

    def plot(self, **kwargs: Any) -> Any:
        """One figure with all pictures. Raises `ModuleNotFoundError` where there is no matplotlib."""
        return _plotted(self._results, self._plot_class, kwargs)

    def __len__(self) -> int:
        return len(self._results)

    def __iter__(self) -> Iterator[AnalysisResult]:
        return iter(self._results)

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.keys()]

    def __repr__(self) -> str:
        return f"<AnalysisResultSet {', '.join(self.keys())}>"


def _plotted(results: list[AnalysisResult], plot_class: Any, kwargs: dict[str, Any]) -> Any:
    if plot_class is None:
        from erl.compute.pictures import figure

        plot_class = figure
    return plot_class(results, **kwargs)
