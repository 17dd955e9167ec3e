"""An application of ASGI in a worker: not a service of py's, but uvicorn under a pool's supervision.

py:start_pool(web, #{size => 1, python_path => ["examples/services"], on_start => {asgi, start, [8000]}}).
"""

from __future__ import annotations

import threading
from typing import Any


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Any application of ASGI: of FastAPI, Starlette, Django."""
    if scope["type"] == "http":
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
        )
        await send({"type": "http.response.body", "body": b"Hello from a worker\n"})


def start(port: int) -> None:
    """Serve it in a thread; when the worker ends, so does it."""
    import uvicorn

    config = uvicorn.Config(application, host="127.0.0.1", port=port, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    threading.Thread(target=server.run, daemon=True).start()
