"""The event that a handler is given: one request, under the names that Nuclio has for its parts."""

from __future__ import annotations

import base64
import datetime
import enum
import json
import logging
from typing import Any

_logger = logging.getLogger("erl.serving")


class TriggerInfo:
    """What has brought an event: its kind and its name."""

    def __init__(self, kind: str = "", name: str = "") -> None:
        self.kind = kind
        self.name = name


class Event:
    """A request. `body` is bytes, or what JSON says where its type is application/json."""

    def __init__(
        self,
        body: Any = None,
        content_type: str | None = None,
        trigger: TriggerInfo | None = None,
        fields: dict[str, Any] | None = None,
        headers: dict[str, Any] | None = None,
        _id: Any = None,
        method: str | None = None,
        path: str | None = None,
        size: int | None = None,
        timestamp: Any = None,
        url: str | None = None,
        shard_id: Any = None,
        num_shards: Any = None,
        _type: str | None = None,
        type_version: str | None = None,
        version: str | None = None,
        last_in_batch: bool | None = None,
        offset: Any = None,
        topic: str | None = None,
    ) -> None:
        self.body = body
        self.content_type = content_type
        self.trigger = trigger or TriggerInfo()
        self.fields = fields or {}
        self.headers = headers or {}
        self.id = _id
        self.method = method
        self.path = path or "/"
        self.size = size
        self.timestamp = timestamp or 0
        self.url = url
        self.shard_id = shard_id
        self.num_shards = num_shards
        self.type = _type
        self.type_version = type_version
        self.version = version
        self.last_in_batch = last_in_batch or False
        self.offset = offset or 0
        self.topic = topic

    def to_json(self) -> str:
        """The event as JSON; a body of bytes is base64."""
        said = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        said["trigger"] = {"kind": self.trigger.kind, "name": self.trigger.name}
        if isinstance(self.timestamp, datetime.datetime):
            said["timestamp"] = str(self.timestamp)
        if isinstance(self.body, bytes):
            said["body"] = base64.b64encode(self.body).decode("ascii")
        return json.dumps(said, default=str)

    def __repr__(self) -> str:
        return self.to_json()

    def get_header(self, header_key: str) -> Any:
        """The value of a header, whatever the case of its name; None where there is none."""
        wanted = header_key.lower()
        return next((value for key, value in self.headers.items() if key.lower() == wanted), None)

    @staticmethod
    def from_msgpack(data: Any) -> Event | list[Event]:
        """As `Event.deserialize(data, EventDeserializerKinds.msgpack)`."""
        return Event.deserialize(data, EventDeserializerKinds.msgpack)

    @staticmethod
    def from_json(data: str | bytes) -> Event | list[Event]:
        """As `Event.deserialize(data, EventDeserializerKinds.json)`."""
        return Event.deserialize(data, EventDeserializerKinds.json)

    @classmethod
    def deserialize(cls, data: Any, kind: EventDeserializerKinds | None = None) -> Event | list[Event]:
        """An event, or a list of them, from what `to_json` has said of it."""
        return (kind or EventDeserializerKinds.msgpack_raw).value.deserialize(data)

    def compile_explicit_ack_message(self) -> dict[str, Any]:
        """What marks the event's offset in a stream."""
        return QualifiedOffset.from_event(self).compile_explicit_ack_message()


class QualifiedOffset:
    """A place in a stream of events."""

    def __init__(self, topic: str | None, partition: Any, offset: Any) -> None:
        self.topic = topic
        self.partition = partition
        self.offset = offset

    @staticmethod
    def from_event(event: Event) -> QualifiedOffset:
        """That of an event, whose topic may be its path."""
        return QualifiedOffset(event.topic or event.path, event.shard_id, event.offset)

    def compile_explicit_ack_message(self) -> dict[str, Any]:
        """What marks it."""
        place = {"topic": self.topic, "partition": self.partition, "offset": self.offset}
        return {"kind": "streamMessageAck", "attributes": place}


class _Deserializer:
    """Reads events from text, or from what was read already, with keys that are texts or bytes."""

    def __init__(self, is_text: bool, is_bytes: bool) -> None:
        self._is_text = is_text
        self._is_bytes = is_bytes

    def deserialize(self, data: Any) -> Event | list[Event]:
        parsed = json.loads(data) if self._is_text else data
        return [self._event(each) for each in parsed] if isinstance(parsed, list) else self._event(parsed)

    def _event(self, said: Any) -> Event:
        def of(name: str, there: Any = said) -> Any:
            return there[name.encode() if self._is_bytes else name]

        def maybe(name: str, default: Any = None) -> Any:
            return said.get(name.encode() if self._is_bytes else name, default)

        body = of("body")
        if of("content_type") in ("application/json", b"application/json") and not isinstance(body, dict):
            body = parsed_json(body)
        stamp = datetime.datetime.fromtimestamp(of("timestamp"), datetime.timezone.utc).replace(tzinfo=None)
        trigger = of("trigger")
        return Event(
            body=body,
            content_type=of("content_type"),
            trigger=TriggerInfo(of("kind", trigger), of("name", trigger)),
            fields=of("fields"),
            headers=of("headers"),
            _id=of("id"),
            method=of("method"),
            path=of("path"),
            size=of("size"),
            timestamp=stamp,
            url=of("url"),
            shard_id=of("shard_id"),
            num_shards=of("num_shards"),
            _type=of("type"),
            type_version=of("type_version"),
            version=of("version"),
            offset=maybe("offset", 0),
            topic=maybe("topic"),
        )


def parsed_json(body: Any) -> Any:
    """What JSON says; the body itself where it is none."""
    try:
        return json.loads(body.decode() if isinstance(body, bytes) else body)
    except (ValueError, TypeError, RecursionError) as error:
        _logger.warning("the body is no JSON: %s", type(error).__name__)
        return body


class EventDeserializerKinds(enum.Enum):
    """How what `Event.deserialize` is given is written."""

    msgpack = _Deserializer(is_text=False, is_bytes=False)
    msgpack_raw = _Deserializer(is_text=False, is_bytes=True)
    json = _Deserializer(is_text=True, is_bytes=False)
