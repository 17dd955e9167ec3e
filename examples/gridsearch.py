"""Fits one point of a grid on one fold: the Python half of the example `gridsearch`. It knows no Erlang.

The data are the 1797 handwritten digits that come with scikit-learn, 8 by 8 pixels each. The model is a support vector
machine, the folds are those that `GridSearchCV(SVC(), ..., cv=5)` would use.
"""

from __future__ import annotations

import os
import time
from typing import Any

import sklearn
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.svm import SVC

FOLDS = 5

data: dict[str, Any] = {}


def load() -> None:
    """What every worker does once, before it serves: read the data, put a quarter aside, and make the folds."""
    pixels, digits = load_digits(return_X_y=True)
    data["train"], data["test"], data["train_digits"], data["test_digits"] = train_test_split(
        pixels, digits, test_size=0.25, random_state=0, stratify=digits
    )
    data["folds"] = list(StratifiedKFold(FOLDS).split(data["train"], data["train_digits"]))


def about() -> dict[str, Any]:
    """What there is to fit, and with which scikit-learn."""
    return {
        "version": sklearn.__version__,
        "train": len(data["train"]),
        "test": len(data["test"]),
        "folds": len(data["folds"]),
    }


def score(point: tuple[float, float, int]) -> tuple[int, float, float]:
    """The process, its seconds, and the accuracy for `(C, gamma, fold)` on the part that the fold leaves out."""
    c, gamma, fold = point
    started = time.perf_counter()
    fitted, left_out = data["folds"][fold]
    model = SVC(C=c, gamma=gamma).fit(data["train"][fitted], data["train_digits"][fitted])
    accuracy = model.score(data["train"][left_out], data["train_digits"][left_out])
    return os.getpid(), time.perf_counter() - started, float(accuracy)


def final(c: float, gamma: float) -> float:
    """The accuracy on the quarter that was put aside, fitted on all the rest."""
    model = SVC(C=c, gamma=gamma).fit(data["train"], data["train_digits"])
    return float(model.score(data["test"], data["test_digits"]))
