"""The node tools: lb-scan, lb-capture, lb-modbus, lb-plc, lb-fw, lb-ssh, lb-web, lb-arp, lb-attack.

Each is a module with `async def main(argv, net, out) -> int`. `out` is a text stream; where there is a terminal or
piped input it also has `stdin` (a text stream), and where the node has files of its own `files` is true. Nothing else
is assumed, so the same tool runs as a process in a node and inside the memory driver.
"""
