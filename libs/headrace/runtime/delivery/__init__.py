"""Exactly once from topic to topic: one Kafka transaction for each input partition and batch."""

from headrace.runtime.delivery.hop import Hop
from headrace.runtime.observer import BatchObservation, BatchOutcome, DeliveryObserver, NoObserver

__all__ = ["BatchObservation", "BatchOutcome", "DeliveryObserver", "Hop", "NoObserver"]
