"""A model of scikit-learn's, trained by a task and served: python examples/services/model.py"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import erl
from erl import functions

SOURCE = """
def train(path):
    import joblib
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    iris = load_iris()
    joblib.dump(LogisticRegression(max_iter=1000).fit(iris.data, iris.target), path)
    return "trained"


def init(context, path):
    import joblib

    context.user_data.model = joblib.load(path)


def predict(context, rows):
    return {"classes": context.user_data.model.predict(rows).tolist()}
"""


def main() -> None:
    """Train, serve, ask."""
    with tempfile.TemporaryDirectory() as directory, erl.start({"default": {"size": 1}}, state_dir=directory):
        path = str(Path(directory, "iris.joblib"))
        project = functions.get_or_create_project("iris")
        made = {"kind": "python", "code": SOURCE, "python_version": f"PYTHON3_{sys.version_info.minor}"}
        train = project.new_function(name="train", handler="train", **made)
        print(train.run(parameters={"path": path}, wait=True).status.state)
        predict = project.new_function(name="predict", handler="predict", init_function="init", **made)
        run = predict.run("serve", init_parameters={"path": path}, replicas=2)
        print(run.invoke(json={"rows": [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]}).json())
        run.stop()


if __name__ == "__main__":
    main()
