"""A model is trained by a run, and read back by the next one: what it is kept in outlives both, and the node.

python examples/python/trained_model.py
"""

import tempfile

import erl
from erl import functions

SOURCE = '''
from digitalhub_runtime_python import handler


class Line:
    """Least squares: the line through points of two lists."""

    def __init__(self, xs, ys):
        count, x, y = len(xs), sum(xs) / len(xs), sum(ys) / len(ys)
        self.slope = sum((a - x) * (b - y) for a, b in zip(xs, ys)) / sum((a - x) ** 2 for a in xs)
        self.start = y - self.slope * x
        self.count = count

    def at(self, x):
        return self.start + self.slope * x


@handler(outputs=[{"name": "line", "kind": "model", "spec_kwargs": {"algorithm": "least squares"}}, "slope"])
def train(points):
    print(f"training with {len(points)} points")
    line = Line([x for x, _ in points], [y for _, y in points])
    return line, line.slope


@handler(outputs=["predictions"])
def predict(line, xs):
    model = line.as_object()
    return [model.at(x) for x in xs]
'''


def main():
    with tempfile.TemporaryDirectory() as directory:
        with erl.start({"default": {"size": 1}}, state_dir=directory):
            project = functions.get_or_create_project("lines")
            train = project.new_function(name="train", kind="python", code=SOURCE, handler="train")
            run = train.run(action="job", parameters={"points": [(0, 1), (1, 3), (2, 5)]}, wait=True)
            model = run.output("line")
            print(
                f"{run.status.state}: {run.logs().strip()}; slope {run.result('slope')}; {model.spec.algorithm}"
            )

        # Another node, and another Python: what was kept is there, and who has signed it is known.
        with erl.start({"default": {"size": 1}}, state_dir=directory):
            project = functions.get_project("lines")
            predict = project.new_function(name="predict", kind="python", code=SOURCE, handler="predict")
            run = predict.run(action="job", inputs={"line": model.key}, parameters={"xs": [3, 10]}, wait=True)
            print(f"{run.status.state}: {run.result('predictions')}")
            print(", ".join(f"{each.function} {each.status.state}" for each in functions.list_runs("lines")))


if __name__ == "__main__":
    main()
