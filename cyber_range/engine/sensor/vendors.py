"""Makers by the first three bytes of a hardware address: what stands on small plant floors (IEEE MA-L register).

A short list on purpose: it is looked at by people who learn to read an inventory, not a replacement for the register.
"""

from __future__ import annotations

_LISTED = {
    "Siemens": "080006 000e8c 001b1b 001c06 001ff8 286336 208756 ac6417 e0dca0",
    "Rockwell Automation": "0000bc 001d9c 5c8816 e49069 f45433",
    "Schneider Electric": "0080f4 000054",
    "Omron": "00000a",
    "Mitsubishi Electric": "002692 38e08e",
    "ABB": "000023 002459",
    "Beckhoff": "000105",
    "Phoenix Contact": "00a045 a8741d",
    "WAGO": "0030de",
    "Moxa": "0090e8",
    "Advantech": "00d0c9 74fe48",
    "Hirschmann": "008063 646038",
    "Honeywell": "004084",
    "Yokogawa": "000064",
    "Delta Electronics": "001823",
    "Keyence": "0001fc",
    "Fanuc": "00e0e4",
    "B&R": "006065",
    "Red Lion": "0005e4",
    "ProSoft": "000d8d",
    "Weintek": "000c26",
    "Lantronix": "00204a 0080a3",
    "Digi": "00409d",
    "Huawei": "00e0fc 001882",
    "H3C": "000fe2 3ce5a6",
    "TP-Link": "50c7bf",
    "Hikvision": "4419b6 c056e3 2857be",
    "Dahua": "3cef8c 9002a9",
    "Dell": "001422 001aa0 b8ca3a",
    "HP": "001a4b",
    "Intel": "001b21 001517",
    "Realtek": "00e04c",
    "Cisco": "00000c",
    "Raspberry Pi": "b827eb dca632 e45f01",
    "VMware": "000c29 005056 000569",
    "VirtualBox": "080027",
    "QEMU": "525400",
    "Hyper-V": "00155d",
}
VENDORS = {prefix: vendor for vendor, prefixes in _LISTED.items() for prefix in prefixes.split()}


def vendor_of(mac: bytes) -> str:
    """Empty for unknown and for locally administered addresses."""
    return VENDORS.get(mac[:3].hex(), "")
