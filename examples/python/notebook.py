"""A notebook's cells as a script: workers that survive what a cell does to them.

    python examples/python/notebook.py

Run a cell again, restart the kernel, interrupt it: there is one node, and nothing is left of it.
"""

import math
import os
import time

import erl
from erl.errors import TaskTimeoutError, WorkerLostError
from erl.futures import PoolExecutor

# %% Two workers. Run again, this cell finds the node that it has started.

node = erl.start({"default": {"size": 2}})
executor = PoolExecutor(timeout=30)

# %% What a task prints appears here, what it raises is raised here.


def root(number):
    print(f"the root of {number}")
    return math.sqrt(number)


print(executor.submit(root, 16).result())
try:
    executor.submit(root, -1).result()
except ValueError as error:
    print(type(error).__name__, "-", error)

# %% Many at once.

print(sum(executor.map(abs, range(-1000, 1000))))

# %% A task that kills its worker costs that task. The pool has a new worker, the others have not noticed.

others = [executor.submit(pow, 2, each) for each in range(100)]
try:
    executor.submit(os._exit, 3).result()
except WorkerLostError as error:
    print(error)
print(sum(each.result() for each in others) == 2**100 - 1)

# %% A task that takes too long is interrupted, its worker is free.

begun = time.monotonic()
try:
    node.executor(timeout=0.2).submit(time.sleep, 60).result()
except TaskTimeoutError:
    print("interrupted, long before a minute:", time.monotonic() - begun < 30)

# %% One that runs can be ended by hand, which `cancel` of a standard future can't.

future = executor.submit(time.sleep, 60)
while not future.running():
    time.sleep(0.01)
print(future.cancel(), future.kill())
print(executor.submit(root, 4).result())

# %% Erlang is here, too.

print(node.call("lists", "seq", [1, 5]))
node.stop()
