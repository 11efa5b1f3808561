from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Click(_message.Message):
    __slots__ = ("user", "item", "time_ms", "action")
    USER_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    user: str
    item: str
    time_ms: int
    action: str
    def __init__(self, user: _Optional[str] = ..., item: _Optional[str] = ..., time_ms: _Optional[int] = ..., action: _Optional[str] = ...) -> None: ...
