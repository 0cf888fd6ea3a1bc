"""The attack runs in a lab or not at all.

It refuses to start unless the lab's mark is in its spec, every address of this node lies in a network of the lab's
plan, and there is at least one; and it refuses every target outside those networks, each time it is given one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any

from cyber_range.engine.errors import Refused

RANGE_ID = re.compile(r"[0-9a-f]{12}\Z")


class Fence:
    """The networks an attack may touch."""

    def __init__(self, lab: Mapping[str, Any] | None, own_addresses: Iterable[str]) -> None:
        lab = lab or {}
        if not RANGE_ID.match(str(lab.get("range", ""))):
            raise Refused(
                "attack programs run only inside a lab: the spec carries no range id",
                remedy="Let a scenario start this program",
            )
        self._networks = [ipaddress.IPv4Network(text) for text in lab.get("networks", ())]
        if not self._networks:
            raise Refused("attack programs need the lab's networks in their spec", remedy="Give lab.networks")
        if wide := [n for n in self._networks if n.prefixlen < 20]:
            raise Refused(f"network {wide[0]} is too wide for a lab", remedy="Name the lab's own segments")
        own = list(own_addresses)
        if not own:
            raise Refused("attack programs need a leg in the lab; this node has none")
        for address in own:
            if not self.holds(address):
                raise Refused(
                    f"this node has address {address}, which is not of the lab's plan",
                    remedy="Attack programs start only where every interface belongs to the lab",
                )

    def holds(self, address: str) -> bool:
        try:
            target = ipaddress.IPv4Address(address)
        except ValueError:
            return False
        return any(target in network for network in self._networks)

    def check(self, address: str) -> str:
        """The address itself; Refused when it is not of the lab."""
        if not self.holds(address):
            raise Refused(f"{address} is not an address of this lab", remedy="Correct the campaign step's target")
        return address

    def hosts(self, texts: Iterable[str]) -> list[str]:
        """Addresses and the hosts of networks, each checked."""
        found: list[str] = []
        for text in texts:
            found += [str(a) for a in ipaddress.IPv4Network(text).hosts()] if "/" in text else [text]
        return [self.check(address) for address in found]
