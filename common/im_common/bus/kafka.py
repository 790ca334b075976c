"""The bus on Kafka."""

from im_common.bus.kafka_consumer import KafkaConsumer
from im_common.bus.kafka_producer import KafkaProducer
from im_common.bus.kafka_topics import ensure_topics

__all__ = ["KafkaConsumer", "KafkaProducer", "ensure_topics"]
