"""By what `Recommend` sorts: recorded in each bundle,
because which order is best was measured for that model.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

RECORD = "recommend"  # its name in a bundle's config.json


class Order(StrEnum):
    """What a list of recommendations is sorted by."""

    NEXT_ITEM = "next-item"  # the next-item logit over the whole catalogue
    CLICK = "click"  # the full model's click probability, among those that the logit retrieved


def order_of(record: Mapping[str, Any]) -> Order:
    """The order that a bundle's record names;
    the next-item logit where there is none, as in older bundles.

    Raises:
        ValueError: the record names no order that is known here.
    """
    name = record.get("order", Order.NEXT_ITEM)
    if name not in list(Order):
        raise ValueError(
            f"{RECORD}.order is {str(name)[:40]!r}; this version knows {', '.join(Order)}"
        )
    return Order(name)
