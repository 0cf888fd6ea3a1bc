"""What peers say, declared with scapy and printed as bytes. Run as a process of its own: see `traffic.compiled`.

scapy is GPL-2.0; nothing outside this package imports these modules.
"""
