"""A module that starts a thread while it is imported."""

from __future__ import annotations

import threading

stop = threading.Event()
threading.Thread(target=stop.wait, daemon=True).start()
