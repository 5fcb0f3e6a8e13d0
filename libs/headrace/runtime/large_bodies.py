"""Where large bodies go: the object store of the environment, where one is set."""

from functools import partial

from headrace.adapters.claim_check import ClaimLimits, LargeBodies
from headrace.adapters.object_store import ObjectStoreSettings, open_object_store
from headrace.runtime.settings import DeliverySettings


def large_bodies(delivery: DeliverySettings) -> LargeBodies:
    """Large bodies in the store that HEADRACE_S3_ENDPOINT names, if any. Opens nothing."""
    settings = ObjectStoreSettings()
    limits = ClaimLimits(delivery.inline_bytes_max, delivery.claim_bytes_max, delivery.claims_parallel_max)
    return LargeBodies(partial(open_object_store, settings) if settings.endpoint else None, limits)
