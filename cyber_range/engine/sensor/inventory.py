"""Who is who on the wires: address, hardware, maker, names, protocols, roles, what devices say about themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyber_range.engine.sensor.decode import dotted
from cyber_range.engine.sensor.protocols.registry import CONTROL
from cyber_range.engine.sensor.vendors import vendor_of

ASSET_LIMIT = 4096  # per sensor: beyond, an address sweep with spoofed senders is noise, not inventory
FACT_LIMIT = 24  # protocols or identity words of one asset
NAME_WORDS = frozenset({"name", "system"})


class Asset:
    """One address in one zone. `sure`: its hardware address was told by ARP, not by a router's frame."""

    __slots__ = ("first", "identity", "ip", "last", "mac", "macs", "protocols", "roles", "sure", "zone")

    def __init__(self, zone: str, ip: str, mac: bytes, at: float) -> None:
        self.zone, self.ip, self.mac = zone, ip, mac
        self.macs = [mac]
        self.sure = False
        self.first = self.last = at
        self.protocols: dict[str, set[str]] = {}
        self.roles: set[str] = set()
        self.identity: dict[str, str] = {}


class Inventory:
    """`changed` assets are told at the next report. `names` are those of the drawing."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._assets: dict[tuple[str, bytes], Asset] = {}
        self._by_mac: dict[tuple[str, bytes], set[bytes]] = {}
        self._changed: dict[tuple[str, bytes], Asset] = {}
        self.left_out = 0

    def sees(self, zone: str, address: bytes, mac: bytes, at: float, *, sure: bool = False) -> bool:
        """True for a host that is new in this zone; not for one that speaks through a router (its hardware is known)."""
        key = (zone, address)
        asset = self._assets.get(key)
        if asset is None:
            if not _is_host(address):
                return False
            if len(self._assets) >= ASSET_LIMIT:
                self.left_out += 1
                return False
            asset = self._assets[key] = Asset(zone, dotted(address), mac, at)
            asset.sure = sure
            owners = self._by_mac.setdefault((zone, mac), set())
            owners.add(address)
            self._changed[key] = asset
            return sure or len(owners) == 1
        asset.last = at
        if sure and not asset.sure:
            asset.sure, asset.mac = True, mac
            self._changed[key] = asset
        if mac not in asset.macs and len(asset.macs) < FACT_LIMIT:
            asset.macs.append(mac)
            if sure:
                self._changed[key] = asset
        return False

    def speaks(self, zone: str, address: bytes, proto: str, role: str) -> None:
        """`role`: client or server of that protocol."""
        asset = self._assets.get((zone, address))
        if asset is None:
            return
        roles = asset.protocols.get(proto)
        if roles is None:
            if len(asset.protocols) >= FACT_LIMIT:
                return
            roles = asset.protocols[proto] = set()
        if role not in roles:
            roles.add(role)
            asset.roles.add(role)
            if proto in CONTROL:
                asset.roles.add("master" if role == "client" else "plc")
            self._changed[zone, address] = asset

    def tells(self, zone: str, address: bytes, identity: Mapping[str, str]) -> None:
        """What a device said of itself on the wire."""
        asset = self._assets.get((zone, address))
        if asset is None:
            return
        for word, value in identity.items():
            if (
                value
                and asset.identity.get(word) != value
                and (word in asset.identity or len(asset.identity) < FACT_LIMIT)
            ):
                asset.identity[word] = value
                self._changed[zone, address] = asset

    def touch(self, zone: str, address: bytes, at: float) -> None:
        asset = self._assets.get((zone, address))
        if asset is not None and at > asset.last:
            asset.last = at

    def drain(self) -> list[dict[str, Any]]:
        changed, self._changed = self._changed, {}
        return [self._told(asset) for asset in changed.values()]

    def all(self) -> list[dict[str, Any]]:
        return [self._told(asset) for asset in self._assets.values()]

    def _told(self, asset: Asset) -> dict[str, Any]:
        name = self._names.get(asset.ip, "")
        shared = not asset.sure and len(self._by_mac.get((asset.zone, asset.mac), ())) > 1
        return {
            "zone": asset.zone, "ip": asset.ip, "mac": asset.mac.hex(":"), "known": asset.ip in self._names, "name": name,
            "vendor": "" if shared else vendor_of(asset.mac), "macs": [mac.hex(":") for mac in asset.macs],
            "behind_router": shared, "roles": sorted(asset.roles),
            "protocols": {proto: sorted(roles) for proto, roles in sorted(asset.protocols.items())},
            "identity": dict(asset.identity), "first": asset.first, "last": asset.last,
        }  # fmt: skip


def _is_host(address: bytes) -> bool:
    """Not nobody, not everybody, not a group."""
    return address[0] not in (0, 127, 255) and not 224 <= address[0] <= 239
