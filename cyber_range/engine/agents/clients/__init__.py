"""Clients of the plant protocols for whoever wants one thing done: campaign steps and the tool lb-plc.

Each opens over anything that has `create_connection` (a node's network, or a session that leads inside: `stream_net`),
answers in plain values, and raises PermissionError for what the device refuses. What they offer is written down in
`attack.speakers`. Modules are loaded when one is asked for: a node speaks one or two of them.
"""
