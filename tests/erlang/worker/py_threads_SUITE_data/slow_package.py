"""Takes long to import, and is whole or not there."""

import time

for _ in range(20):
    time.sleep(0.02)
value = 7
