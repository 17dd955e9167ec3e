"""A grid search of scikit-learn's, by joblib, in the workers of a node.

    python examples/python/grid_search.py

Wants scikit-learn and tqdm.
"""

import sys

import joblib
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.svm import SVC
from tqdm import tqdm

import erl.futures  # from here on joblib knows the backend "erl"

GRID = {"C": [1, 10, 100], "gamma": [0.0005, 0.001, 0.005]}


def score(gamma, digits, labels):
    return SVC(gamma=gamma).fit(digits[:400], labels[:400]).score(digits[400:800], labels[400:800])


def main():
    digits, held_out, labels, held_out_labels = train_test_split(
        *load_digits(return_X_y=True), random_state=0
    )
    with erl.start({"default": {"size": 2}}) as node:
        # A fit that takes a minute is given up; one that loses its worker is done again.
        with joblib.parallel_config(backend="erl", timeout=60, retries=1):
            search = GridSearchCV(SVC(), GRID, cv=3).fit(digits, labels)
        print(f"{len(search.cv_results_['params'])} points, best: {search.best_params_}")
        print(f"held out: {search.score(held_out, held_out_labels):.3f}")

        # The same pool by hand, with a bar that moves as results come. The digits go through shared memory.
        executor = node.executor()
        gammas = [0.0001, 0.0005, 0.001]
        found = executor.map(score, gammas, [digits] * 3, [labels] * 3, chunksize=1)
        scores = list(tqdm(found, total=len(gammas), file=sys.stderr))
        print("  ".join(f"{gamma}: {each:.3f}" for gamma, each in zip(gammas, scores, strict=True)))


if __name__ == "__main__":
    main()
