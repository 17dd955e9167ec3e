"""What a handler may return, and what of it goes to the client: the cases are nuclio_sdk's."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from types import AsyncGeneratorType, GeneratorType
from typing import Any, Final

SINGLE_RESPONSE: Final = "single"
GENERATOR_RESPONSE: Final = "generator"
RESPONSE_WITH_GENERATOR_BODY: Final = "response_with_generator_body"

_GENERATORS: Final = (GeneratorType, AsyncGeneratorType)


class Response:
    """An answer with a status, headers and a type of its own: `context.Response`."""

    def __init__(
        self,
        headers: dict[str, Any] | None = None,
        body: Any = None,
        content_type: str | None = None,
        status_code: int = 200,
        event_id: str | None = None,
    ) -> None:
        self.headers = headers or {}
        self.body = body
        self.status_code = status_code
        self.content_type = content_type or "text/plain"
        self.event_id = event_id

    def __repr__(self) -> str:
        parts = ", ".join(f"{key}={value!r}" for key, value in vars(self).items())
        return f"{type(self).__name__}({parts})"

    def ensure_no_ack(self) -> None:
        """Kept for handlers that say it: there is no stream of events here whose offset could be marked."""
        self.headers["x-nuclio-stream-no-ack"] = True

    @staticmethod
    def get_handler_output_type(handler_output: Any) -> str:
        """Whether it is one answer, a generator of pieces, or a response with such a body."""
        if isinstance(handler_output, _GENERATORS):
            return GENERATOR_RESPONSE
        if isinstance(handler_output, Response) and isinstance(handler_output.body, _GENERATORS):
            return RESPONSE_WITH_GENERATOR_BODY
        return SINGLE_RESPONSE

    @staticmethod
    def empty_response() -> dict[str, Any]:
        """What is answered where nothing is said."""
        return {
            "body": "",
            "content_type": "text/plain",
            "headers": {},
            "status_code": 200,
            "body_encoding": "text",
        }

    @staticmethod
    def from_entrypoint_output(json_encoder: Callable[[Any], str], handler_output: Any) -> dict[str, Any]:
        """What a handler returned as one answer; a body of bytes is base64."""
        status, headers, content_type, body, event_id = parts(handler_output, json_encoder)
        answer = Response.empty_response()
        answer.update(status_code=status, headers=headers, content_type=content_type)
        if event_id:
            answer["event_id"] = event_id
        if isinstance(body, bytes):
            answer.update(body=base64.b64encode(body).decode("ascii"), body_encoding="base64")
        else:
            answer["body"] = str(body)
        return answer

    @staticmethod
    async def from_generator_output(
        json_encoder: Callable[[Any], str],
        body_generator: Generator[Any] | AsyncGenerator[Any],
        response_object: Response | None,
    ) -> AsyncIterator[Any]:
        """The first piece as an answer, the others as base64 of their bytes."""
        first = True
        async for piece in _pieces(body_generator):
            if not first:
                yield base64.b64encode(piece_bytes(piece)).decode("ascii")
                continue
            first = False
            if isinstance(response_object, Response):
                piece = with_body(response_object, piece.body if isinstance(piece, Response) else piece)
            yield Response.from_entrypoint_output(json_encoder, piece)

    @staticmethod
    async def from_entrypoint_output_async(
        json_encoder: Callable[[Any], str], handler_output: Any
    ) -> AsyncIterator[Any]:
        """What a handler returned, generators too, as a sequence of answers and pieces."""
        kind = Response.get_handler_output_type(handler_output)
        if kind == SINGLE_RESPONSE:
            yield Response.from_entrypoint_output(json_encoder, handler_output)
            return
        whole = handler_output if kind == RESPONSE_WITH_GENERATOR_BODY else None
        source = handler_output if whole is None else whole.body
        async for piece in Response.from_generator_output(json_encoder, source, whole):
            yield piece


async def _pieces(generator: Any) -> AsyncIterator[Any]:
    if isinstance(generator, AsyncGeneratorType):
        async for piece in generator:
            yield piece
    else:
        for piece in generator:
            yield piece


def with_body(response: Response, body: Any) -> Response:
    """The same response with another body."""
    return Response(
        response.headers.copy(), body, response.content_type, response.status_code, response.event_id
    )


def parts(
    output: Any, json_encoder: Callable[[Any], str]
) -> tuple[Any, dict[str, Any], str, Any, str | None]:
    """Status, headers, type, body (a `str`, `bytes`, or what `str` is to be asked of) and event of one answer."""
    if isinstance(output, str):
        return 200, {}, "text/plain", output, None
    if isinstance(output, tuple) and len(output) == 2:
        if isinstance(output[1], str):
            return output[0], {}, "text/plain", output[1], None
        return output[0], {}, "application/json", json_encoder(output[1]), None
    if isinstance(output, (dict, list)):
        return 200, {}, "application/json", json_encoder(output), None
    if _is_response(output):
        if isinstance(output.body, dict):
            body, content_type = json.dumps(output.body), "application/json"
        else:
            body, content_type = output.body, output.content_type
        return output.status_code, output.headers, content_type, body, output.event_id
    return 200, {}, "text/plain", output, None


def _is_response(output: object) -> bool:
    """Ours, or that of another package with its attributes (`nuclio_sdk.Response`)."""
    return isinstance(output, Response) or (
        type(output).__name__ == "Response" and hasattr(output, "status_code") and hasattr(output, "event_id")
    )


def piece_bytes(piece: Any) -> bytes:
    """A piece of a streamed answer as it goes to the client."""
    raw = piece.body if isinstance(piece, Response) else piece
    if isinstance(raw, (bytes, bytearray)):
        return bytes(raw)
    return (raw if isinstance(raw, str) else str(raw)).encode()
