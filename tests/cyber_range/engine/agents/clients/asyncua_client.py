"""asyncua's client: `asyncua_client.py HOST PORT` prints what it saw and did as one JSON line.

The server is `plc_specs.opcua`.
"""

import asyncio
import json
import logging
import sys

from asyncua import Client, ua

logging.disable(logging.CRITICAL)


async def browse(url: str, seen: dict) -> None:
    async with Client(url) as client:
        seen["endpoints"] = [edge.EndpointUrl == url for edge in await client.get_endpoints()]
        seen["objects"] = [(await node.read_browse_name()).Name for node in await client.nodes.objects.get_children()]
        tags = client.get_node("ns=2;s=Line1.Tags")
        seen["tags"] = [(await node.read_browse_name()).Name for node in await tags.get_children()]
        setpoint = client.get_node("ns=2;s=Line1.Level_SP")
        seen["setpoint"] = await setpoint.read_value()
        unit = await (await setpoint.get_child("0:EngineeringUnits")).read_value()
        span = await (await setpoint.get_child("0:EURange")).read_value()
        seen["unit"] = [unit.DisplayName.Text, unit.UnitId, span.Low, span.High]
        seen["type"] = (await setpoint.read_type_definition()).Identifier
        seen["description"] = (await setpoint.read_description()).Text
        seen["state"] = int(await client.nodes.server_state.read_value())
        build = await client.get_node(ua.ObjectIds.Server_ServerStatus_BuildInfo).read_value()
        seen["product"] = build.ProductName
        try:
            await setpoint.write_value(5.0, ua.VariantType.Float)
        except ua.UaStatusCodeError as exc:
            seen["viewer"] = type(exc).__name__


async def operate(url: str, seen: dict) -> None:
    client = Client(url)
    client.set_user("op")
    client.set_password("secret")
    async with client:
        setpoint = client.get_node("ns=2;s=Line1.Level_SP")
        changes: asyncio.Queue[float] = asyncio.Queue()

        class Watch:
            def datachange_notification(self, node: object, value: float, data: object) -> None:
                changes.put_nowait(value)

        subscription = await client.create_subscription(100, Watch())
        await subscription.subscribe_data_change(setpoint)
        first = await asyncio.wait_for(changes.get(), 10)
        await setpoint.write_value(72.5, ua.VariantType.Float)
        seen["changes"] = [first, await asyncio.wait_for(changes.get(), 10)]
        seen["written"] = await setpoint.read_value()
        try:
            await client.get_node("ns=2;s=Line1.level").write_value(5.0, ua.VariantType.Float)
        except ua.UaStatusCodeError as exc:
            seen["read_only"] = type(exc).__name__
        mode = client.get_node("ns=2;s=Line1.Control.Mode")
        control = client.get_node("ns=2;s=Line1.Control")
        seen["modes"] = []
        for verb, wanted in (("Stop", "stop"), ("Start", "run")):
            await control.call_method(f"2:{verb}")
            async with asyncio.timeout(10):
                while (now := await mode.read_value()) != wanted:  # noqa: ASYNC110 - asked over the wire
                    await asyncio.sleep(0.05)
            seen["modes"].append(now)


async def refused(url: str, seen: dict) -> None:
    client = Client(url)
    client.set_user("op")
    client.set_password("wrong")
    try:
        async with client:
            pass
    except ua.UaStatusCodeError as exc:
        seen["wrong_password"] = type(exc).__name__


async def main(host: str, port: int) -> None:
    seen: dict = {}
    url = f"opc.tcp://{host}:{port}/"
    await browse(url, seen)
    await operate(url, seen)
    await refused(url, seen)
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
