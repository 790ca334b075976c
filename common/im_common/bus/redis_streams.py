"""The bus on Redis Streams, the embedded default; see ``streams_log`` for what it promises."""

from im_common.bus.streams_consumer import StreamsConsumer
from im_common.bus.streams_log import ensure_topics
from im_common.bus.streams_producer import StreamsProducer

__all__ = ["StreamsConsumer", "StreamsProducer", "ensure_topics"]
