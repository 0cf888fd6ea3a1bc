"""bacpypes3's own client against `stations.cold_store`: `bacnet_client.py OWN/PREFIX TARGET [broadcast]`, one JSON line.

`broadcast`: looks for the device with Who-Is and Who-Has to everybody instead of to TARGET alone.
"""

import asyncio
import json
import sys

from bacpypes3.apdu import DeviceCommunicationControlRequest, ErrorRejectAbortNack, ReinitializeDeviceRequest
from bacpypes3.basetypes import BinaryPV
from bacpypes3.ipv4.app import NormalApplication
from bacpypes3.ipv4.bvll import RegisterForeignDevice
from bacpypes3.local.device import DeviceObject
from bacpypes3.pdu import Address, IPv4Address
from bacpypes3.primitivedata import Null, ObjectIdentifier


async def asked(awaitable):
    """The answer, or the error as text."""
    try:
        answer = await awaitable
    except ErrorRejectAbortNack as exc:
        return str(exc)
    return str(answer) if isinstance(answer, ErrorRejectAbortNack) else answer


async def main(own, target, broadcast=""):
    device = DeviceObject(objectIdentifier=("device", 77), objectName="probe")
    application = NormalApplication(device, IPv4Address(own))
    where = Address(target)
    everybody = None if broadcast else where
    found = {}
    said = await application.who_is(3000, 4000, everybody, timeout=3)
    found["i-am"] = [
        [i.iAmDeviceIdentifier[1], str(i.pduSource), int(i.vendorID), int(i.maxAPDULengthAccepted)] for i in said
    ]
    has = await application.who_has(object_name="level_setpoint", address=everybody, timeout=2)
    found["i-have"] = [[str(i.deviceIdentifier), str(i.objectIdentifier), str(i.objectName)] for i in has]

    async def read(thing, what):
        value = await asked(application.read_property(where, ObjectIdentifier(thing), what))
        return value if isinstance(value, (int, float, str)) else str(value)

    async def write(thing, value, priority=None, what="present-value"):
        answer = await asked(application.write_property(where, ObjectIdentifier(thing), what, value, priority=priority))
        return answer

    found["identity"] = [
        await read("device,3401", what)
        for what in ("object-name", "vendor-name", "model-name", "firmware-revision", "location", "serial-number")
    ]
    objects = await application.read_property(where, ObjectIdentifier("device,3401"), "object-list")
    found["objects"] = [str(one) for one in objects]
    found["first"] = [await read("analog-value,1", "present-value"), await read("binary-value,1", "present-value")]
    found["units"] = await read("analog-value,1", "units")
    many = await application.read_property_multiple(
        where,
        [ObjectIdentifier("analog-value,1"), ["present-value", "priority-array", "file-size"]],
    )
    found["many"] = [str(one[1]) for one in many] + [str(many[-1][3].errorCode)]
    found["everything"] = []
    for one in objects:
        results = await application.read_property_multiple(where, [one, ["all"]])
        found["everything"].append([str(one), isinstance(results, list) and len(results) > 5])
    found["wrote"] = [await write("analog-value,1", 41.5, 8), await write("analog-value,1", 55.0, 12)]
    found["priority 8 wins"] = [await read("analog-value,1", "present-value")]
    found["released"] = [await write("analog-value,1", Null(()), 8), await read("analog-value,1", "present-value")]
    found["binary"] = [
        await write("binary-value,1", BinaryPV("inactive"), 8), await read("binary-value,1", "present-value"),
        await write("binary-output,1", BinaryPV("inactive"), 8), await read("binary-output,1", "present-value"),
    ]  # fmt: skip
    found["denied"] = [await write("analog-input,1", 1.0), await write("analog-value,99", 1.0)]
    found["changes"] = await changes(application, where, write)
    found["foreign"] = await registered(application, target)

    async def control(request):
        answer = await asked(application.request(request))
        return answer if isinstance(answer, str) else type(answer).__name__

    found["wrong password"] = await control(
        ReinitializeDeviceRequest(reinitializedStateOfDevice="coldstart", password="guess", destination=where)
    )
    found["silenced"] = await control(
        DeviceCommunicationControlRequest(enableDisable="disable", password="open sesame", destination=where)
    )
    device.apduTimeout, device.numberOfApduRetries = 300, 0
    found["silent"] = await read("analog-value,1", "present-value")
    device.apduTimeout = 3000
    found["speaks"] = await control(
        DeviceCommunicationControlRequest(enableDisable="enable", password="open sesame", destination=where)
    )
    found["again"] = await read("analog-value,1", "present-value")
    found["restart"] = await control(
        ReinitializeDeviceRequest(reinitializedStateOfDevice="coldstart", password="open sesame", destination=where)
    )
    application.close()
    sys.stdout.write(json.dumps(found) + "\n")


async def changes(application, where, write):
    """What a confirmed subscription to changes of value tells, from the first notification on."""
    told = []
    async with application.change_of_value(where, ObjectIdentifier("analog-value,1"), 7, True, 60) as subscription:
        for value in (None, 56.5):
            if value is not None:
                await write("analog-value,1", value, 12)
            for _ in range(2):  # present value and status flags come together
                what, said = await asyncio.wait_for(subscription.get_value(), 5)
                if str(what) == "present-value":
                    told.append(float(said))
    await write("analog-value,1", 55.0, 12)
    return told


async def registered(application, target):
    """Result code of a foreign device registration."""
    link = application.normal
    answered = asyncio.get_running_loop().create_future()
    confirm = link.sap_response

    async def heard(lpdu):
        if not answered.done():
            answered.set_result(int(lpdu.bvlciResultCode))

    link.sap_response = heard
    await link.request(RegisterForeignDevice(60, destination=IPv4Address(target)))
    try:
        return await asyncio.wait_for(answered, 5)
    finally:
        link.sap_response = confirm


asyncio.run(main(*sys.argv[1:]))
