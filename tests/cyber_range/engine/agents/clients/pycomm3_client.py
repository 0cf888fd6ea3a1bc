"""pycomm3 as a tool for controllers with tags: `pycomm3_client.py HOST PORT` prints what it saw and did as one JSON line.

The controller is `plc_specs.enip`.
"""

import json
import sys

from pycomm3 import CIPDriver, LogixDriver


def main(host: str, port: int) -> None:
    path = f"{host}:{port}"
    seen = {"listed": CIPDriver.list_identity(path)["product_name"]}
    with LogixDriver(path) as plc:
        seen["info"] = [plc.info["product_name"], plc.info["keyswitch"], plc.info["name"], sorted(plc.info["programs"])]
        seen["tags"] = {name: [tag["data_type_name"], tag["external_access"]] for name, tag in plc.tags.items()}
        seen["read"] = [tag.value for tag in plc.read("Level_SP", "auto", "level_high", "Codes{4}")]
        seen["written"] = [tag.error for tag in plc.write(("Level_SP", 72.5), ("auto", False))]
        seen["again"] = [tag.value for tag in plc.read("Level_SP", "auto")]
        seen["single"] = [plc.write("Codes{3}", [7, 8, 9]).error, plc.read("Codes{4}").value]
        long = [float(number) for number in range(1500)]
        seen["long"] = [plc.write("Recipe{1500}", long).error, plc.read("Recipe{1500}").value == long]
        seen["read_only"] = plc.write("level", 3.0).error
        seen["bit"] = [plc.write("Codes[2].1", True).error, plc.read("Codes[2]").value]
    plc = LogixDriver(path, init_tags=False)
    plc._cfg["extended forward open"] = False
    plc._cfg["connection_size"] = 500
    with plc:
        tags = plc.get_tag_list()
        seen["small"] = [len(tags) == len(seen["tags"]), plc.read("Recipe{300}").value == long[:300]]
        plc.generic_message(service=0x07, class_code=0x64, instance=1, connected=False)
        seen["stopped"] = plc.get_plc_info()["keyswitch"]
        plc.generic_message(service=0x06, class_code=0x64, instance=1, connected=False)
        seen["started"] = plc.get_plc_info()["keyswitch"]
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
