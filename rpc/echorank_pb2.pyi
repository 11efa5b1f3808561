from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Level(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEVEL_UNSPECIFIED: _ClassVar[Level]
    LEVEL_FULL: _ClassVar[Level]
    LEVEL_SEQUENCE: _ClassVar[Level]
    LEVEL_PRIOR: _ClassVar[Level]

class UserState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    USER_STATE_UNSPECIFIED: _ClassVar[UserState]
    USER_STATE_WARM: _ClassVar[UserState]
    USER_STATE_COLD: _ClassVar[UserState]
    USER_STATE_UNKNOWN: _ClassVar[UserState]
LEVEL_UNSPECIFIED: Level
LEVEL_FULL: Level
LEVEL_SEQUENCE: Level
LEVEL_PRIOR: Level
USER_STATE_UNSPECIFIED: UserState
USER_STATE_WARM: UserState
USER_STATE_COLD: UserState
USER_STATE_UNKNOWN: UserState

class Origin(_message.Message):
    __slots__ = ("arm", "model_version", "partition", "offset", "state_age_ms", "level", "score_id", "stale", "cold_user", "user_state")
    ARM_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    STATE_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    SCORE_ID_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    COLD_USER_FIELD_NUMBER: _ClassVar[int]
    USER_STATE_FIELD_NUMBER: _ClassVar[int]
    arm: str
    model_version: str
    partition: int
    offset: int
    state_age_ms: int
    level: Level
    score_id: str
    stale: bool
    cold_user: bool
    user_state: UserState
    def __init__(self, arm: _Optional[str] = ..., model_version: _Optional[str] = ..., partition: _Optional[int] = ..., offset: _Optional[int] = ..., state_age_ms: _Optional[int] = ..., level: _Optional[_Union[Level, str]] = ..., score_id: _Optional[str] = ..., stale: _Optional[bool] = ..., cold_user: _Optional[bool] = ..., user_state: _Optional[_Union[UserState, str]] = ...) -> None: ...

class ScoreRequest(_message.Message):
    __slots__ = ("user", "items", "arm", "time_ms", "min_offset", "request_id")
    USER_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    ARM_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    MIN_OFFSET_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    user: str
    items: _containers.RepeatedScalarFieldContainer[str]
    arm: str
    time_ms: int
    min_offset: int
    request_id: str
    def __init__(self, user: _Optional[str] = ..., items: _Optional[_Iterable[str]] = ..., arm: _Optional[str] = ..., time_ms: _Optional[int] = ..., min_offset: _Optional[int] = ..., request_id: _Optional[str] = ...) -> None: ...

class ScoreResponse(_message.Message):
    __slots__ = ("origin", "probabilities", "unknown_items", "request_id")
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_ITEMS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    origin: Origin
    probabilities: _containers.RepeatedScalarFieldContainer[float]
    unknown_items: int
    request_id: str
    def __init__(self, origin: _Optional[_Union[Origin, _Mapping]] = ..., probabilities: _Optional[_Iterable[float]] = ..., unknown_items: _Optional[int] = ..., request_id: _Optional[str] = ...) -> None: ...

class RecommendRequest(_message.Message):
    __slots__ = ("user", "k", "exclude_seen", "arm", "time_ms", "min_offset")
    USER_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_SEEN_FIELD_NUMBER: _ClassVar[int]
    ARM_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    MIN_OFFSET_FIELD_NUMBER: _ClassVar[int]
    user: str
    k: int
    exclude_seen: bool
    arm: str
    time_ms: int
    min_offset: int
    def __init__(self, user: _Optional[str] = ..., k: _Optional[int] = ..., exclude_seen: _Optional[bool] = ..., arm: _Optional[str] = ..., time_ms: _Optional[int] = ..., min_offset: _Optional[int] = ...) -> None: ...

class RecommendedItem(_message.Message):
    __slots__ = ("item", "probability")
    ITEM_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    item: str
    probability: float
    def __init__(self, item: _Optional[str] = ..., probability: _Optional[float] = ...) -> None: ...

class RecommendResponse(_message.Message):
    __slots__ = ("origin", "items")
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    origin: Origin
    items: _containers.RepeatedCompositeFieldContainer[RecommendedItem]
    def __init__(self, origin: _Optional[_Union[Origin, _Mapping]] = ..., items: _Optional[_Iterable[_Union[RecommendedItem, _Mapping]]] = ...) -> None: ...

class InspectRequest(_message.Message):
    __slots__ = ("user", "arm")
    USER_FIELD_NUMBER: _ClassVar[int]
    ARM_FIELD_NUMBER: _ClassVar[int]
    user: str
    arm: str
    def __init__(self, user: _Optional[str] = ..., arm: _Optional[str] = ...) -> None: ...

class InspectResponse(_message.Message):
    __slots__ = ("origin", "user_key", "events", "last_event_ms", "recent_items", "state_bytes", "state_digest")
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    USER_KEY_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    LAST_EVENT_MS_FIELD_NUMBER: _ClassVar[int]
    RECENT_ITEMS_FIELD_NUMBER: _ClassVar[int]
    STATE_BYTES_FIELD_NUMBER: _ClassVar[int]
    STATE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    origin: Origin
    user_key: int
    events: int
    last_event_ms: int
    recent_items: _containers.RepeatedScalarFieldContainer[str]
    state_bytes: int
    state_digest: str
    def __init__(self, origin: _Optional[_Union[Origin, _Mapping]] = ..., user_key: _Optional[int] = ..., events: _Optional[int] = ..., last_event_ms: _Optional[int] = ..., recent_items: _Optional[_Iterable[str]] = ..., state_bytes: _Optional[int] = ..., state_digest: _Optional[str] = ...) -> None: ...

class RoutingRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PartitionRoute(_message.Message):
    __slots__ = ("partition", "shard", "address", "epoch", "ready", "standby")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    STANDBY_FIELD_NUMBER: _ClassVar[int]
    partition: int
    shard: str
    address: str
    epoch: int
    ready: bool
    standby: StandbyRoute
    def __init__(self, partition: _Optional[int] = ..., shard: _Optional[str] = ..., address: _Optional[str] = ..., epoch: _Optional[int] = ..., ready: _Optional[bool] = ..., standby: _Optional[_Union[StandbyRoute, _Mapping]] = ...) -> None: ...

class StandbyRoute(_message.Message):
    __slots__ = ("shard", "address", "epoch", "ready")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    shard: str
    address: str
    epoch: int
    ready: bool
    def __init__(self, shard: _Optional[str] = ..., address: _Optional[str] = ..., epoch: _Optional[int] = ..., ready: _Optional[bool] = ...) -> None: ...

class ArmInfo(_message.Message):
    __slots__ = ("name", "model_version", "role", "weight")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    name: str
    model_version: str
    role: str
    weight: int
    def __init__(self, name: _Optional[str] = ..., model_version: _Optional[str] = ..., role: _Optional[str] = ..., weight: _Optional[int] = ...) -> None: ...

class RoutingResponse(_message.Message):
    __slots__ = ("version", "partitions", "routes", "arms")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    ARMS_FIELD_NUMBER: _ClassVar[int]
    version: int
    partitions: int
    routes: _containers.RepeatedCompositeFieldContainer[PartitionRoute]
    arms: _containers.RepeatedCompositeFieldContainer[ArmInfo]
    def __init__(self, version: _Optional[int] = ..., partitions: _Optional[int] = ..., routes: _Optional[_Iterable[_Union[PartitionRoute, _Mapping]]] = ..., arms: _Optional[_Iterable[_Union[ArmInfo, _Mapping]]] = ...) -> None: ...

class Exposure(_message.Message):
    __slots__ = ("score_id", "user", "arm", "model_version", "propensity", "partition", "offset", "state_digest", "level", "time_ms", "method", "cold_user", "candidates", "probabilities", "stale", "user_state")
    class Method(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        METHOD_UNSPECIFIED: _ClassVar[Exposure.Method]
        METHOD_SCORE: _ClassVar[Exposure.Method]
        METHOD_RECOMMEND: _ClassVar[Exposure.Method]
    METHOD_UNSPECIFIED: Exposure.Method
    METHOD_SCORE: Exposure.Method
    METHOD_RECOMMEND: Exposure.Method
    SCORE_ID_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    ARM_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    PROPENSITY_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    STATE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    COLD_USER_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    USER_STATE_FIELD_NUMBER: _ClassVar[int]
    score_id: str
    user: str
    arm: str
    model_version: str
    propensity: float
    partition: int
    offset: int
    state_digest: str
    level: Level
    time_ms: int
    method: Exposure.Method
    cold_user: bool
    candidates: _containers.RepeatedScalarFieldContainer[str]
    probabilities: _containers.RepeatedScalarFieldContainer[float]
    stale: bool
    user_state: UserState
    def __init__(self, score_id: _Optional[str] = ..., user: _Optional[str] = ..., arm: _Optional[str] = ..., model_version: _Optional[str] = ..., propensity: _Optional[float] = ..., partition: _Optional[int] = ..., offset: _Optional[int] = ..., state_digest: _Optional[str] = ..., level: _Optional[_Union[Level, str]] = ..., time_ms: _Optional[int] = ..., method: _Optional[_Union[Exposure.Method, str]] = ..., cold_user: _Optional[bool] = ..., candidates: _Optional[_Iterable[str]] = ..., probabilities: _Optional[_Iterable[float]] = ..., stale: _Optional[bool] = ..., user_state: _Optional[_Union[UserState, str]] = ...) -> None: ...

class ScaleRequest(_message.Message):
    __slots__ = ("shards",)
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    shards: int
    def __init__(self, shards: _Optional[int] = ...) -> None: ...

class DrainRequest(_message.Message):
    __slots__ = ("shard",)
    SHARD_FIELD_NUMBER: _ClassVar[int]
    shard: str
    def __init__(self, shard: _Optional[str] = ...) -> None: ...

class ScaleProgress(_message.Message):
    __slots__ = ("shards_now", "shards_wanted", "partitions_to_move", "done", "message")
    SHARDS_NOW_FIELD_NUMBER: _ClassVar[int]
    SHARDS_WANTED_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_TO_MOVE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    shards_now: int
    shards_wanted: int
    partitions_to_move: int
    done: bool
    message: str
    def __init__(self, shards_now: _Optional[int] = ..., shards_wanted: _Optional[int] = ..., partitions_to_move: _Optional[int] = ..., done: _Optional[bool] = ..., message: _Optional[str] = ...) -> None: ...

class SnapshotRequest(_message.Message):
    __slots__ = ("partitions",)
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    partitions: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, partitions: _Optional[_Iterable[int]] = ...) -> None: ...

class SnapshotResponse(_message.Message):
    __slots__ = ("durable",)
    class DurableEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    durable: _containers.ScalarMap[int, int]
    def __init__(self, durable: _Optional[_Mapping[int, int]] = ...) -> None: ...

class DigestRequest(_message.Message):
    __slots__ = ("partition",)
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    partition: int
    def __init__(self, partition: _Optional[int] = ...) -> None: ...

class ReplicaDigest(_message.Message):
    __slots__ = ("shard", "role", "arm", "position", "digest")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    ARM_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    shard: str
    role: str
    arm: str
    position: int
    digest: str
    def __init__(self, shard: _Optional[str] = ..., role: _Optional[str] = ..., arm: _Optional[str] = ..., position: _Optional[int] = ..., digest: _Optional[str] = ...) -> None: ...

class DigestResponse(_message.Message):
    __slots__ = ("replicas",)
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    replicas: _containers.RepeatedCompositeFieldContainer[ReplicaDigest]
    def __init__(self, replicas: _Optional[_Iterable[_Union[ReplicaDigest, _Mapping]]] = ...) -> None: ...

class EraseRequest(_message.Message):
    __slots__ = ("user",)
    USER_FIELD_NUMBER: _ClassVar[int]
    user: str
    def __init__(self, user: _Optional[str] = ...) -> None: ...

class ErasedPlace(_message.Message):
    __slots__ = ("place", "removed", "digest_before", "digest_after", "note")
    PLACE_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    DIGEST_BEFORE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_AFTER_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    place: str
    removed: int
    digest_before: str
    digest_after: str
    note: str
    def __init__(self, place: _Optional[str] = ..., removed: _Optional[int] = ..., digest_before: _Optional[str] = ..., digest_after: _Optional[str] = ..., note: _Optional[str] = ...) -> None: ...

class EraseReceipt(_message.Message):
    __slots__ = ("user_key", "partition", "until", "time_ms", "places")
    USER_KEY_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    PLACES_FIELD_NUMBER: _ClassVar[int]
    user_key: int
    partition: int
    until: int
    time_ms: int
    places: _containers.RepeatedCompositeFieldContainer[ErasedPlace]
    def __init__(self, user_key: _Optional[int] = ..., partition: _Optional[int] = ..., until: _Optional[int] = ..., time_ms: _Optional[int] = ..., places: _Optional[_Iterable[_Union[ErasedPlace, _Mapping]]] = ...) -> None: ...
