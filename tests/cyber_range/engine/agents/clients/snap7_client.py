"""python-snap7 as a programming tool: `snap7_client.py HOST PORT [SLOT]` prints what it saw and did as one JSON line.

The controller is `plc_specs.s7`.
"""

import json
import struct
import sys

import snap7
from snap7.type import Area, Block


def main(host: str, port: int, slot: int = 2) -> None:
    client = snap7.client.Client()
    client.connect(host, 0, slot, port)
    seen = {
        "setpoint": struct.unpack(">f", client.db_read(1, 0, 4))[0],
        "inputs": client.read_area(Area.PE, 0, 64, 2).hex(),
        "flags": client.mb_read(10, 1).hex(),
        "order_code": client.get_order_code().OrderCode.decode().strip(),
        "name": client.get_cpu_info().ASName.decode(),
        "blocks": [client.list_blocks().OBCount, client.list_blocks().DBCount],
        "dbs": client.list_blocks_of_type(Block.DB, 10),
    }
    client.db_write(1, 0, bytearray(struct.pack(">f", 72.5)))
    client.db_write_bool(1, 8, 1, False)
    seen["written"] = client.db_read(1, 0, 9).hex()
    program, size = client.full_upload(Block.OB, 1)
    seen["program"] = bytes(program[36:49]).decode()
    seen["info"] = client.get_block_info(Block.OB, 1).MC7Size == size - 72
    data, _ = client.full_upload(Block.DB, 1)
    data[36:40] = struct.pack(">f", 55.0)
    client.download(data, 1)
    seen["downloaded"] = struct.unpack(">f", client.db_read(1, 0, 4))[0]
    seen["many"] = [
        bytes(part).hex()
        for part in client.read_multi_vars(
            [
                {"area": Area.DB, "db_number": 1, "start": 0, "size": 3},
                {"area": Area.MK, "db_number": 0, "start": 10, "size": 1},
            ]
        )[1]
    ]
    try:
        client.db_read(99, 0, 4)
    except Exception as exc:
        seen["no_db"] = "does not exist" in str(exc)
    client.plc_stop()
    seen["stopped"] = client.read_szl(0x0424).Data[7]
    client.plc_hot_start()
    seen["started"] = client.read_szl(0x0424).Data[7]
    seen["year"] = client.get_plc_datetime().year
    client.disconnect()
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
