"""opendnp3 (through dnp3-python 0.3.0b1) as a master of `stations.outstation`: link address 10, master 1.

`opendnp3_client.py HOST PORT` prints what it saw as one JSON line. `… HOST PORT setpoint|output|direct` gives one command
and dies of the binding's own fault: it cannot hand a command's result to Python (pybind11 cast_error). What opendnp3
thought of our answers shows in the effect: it sends OPERATE only when it is content with the answer to SELECT.
"""

import json
import os
import sys
import time

from dnp3_python.dnp3station import visitors
from pydnp3 import asiodnp3, asiopal, opendnp3, openpal

VISITORS = {
    opendnp3.ICollectionIndexedBinary: visitors.VisitorIndexedBinary,
    opendnp3.ICollectionIndexedCounter: visitors.VisitorIndexedCounter,
    opendnp3.ICollectionIndexedFrozenCounter: visitors.VisitorIndexedFrozenCounter,
    opendnp3.ICollectionIndexedAnalog: visitors.VisitorIndexedAnalog,
    opendnp3.ICollectionIndexedBinaryOutputStatus: visitors.VisitorIndexedBinaryOutputStatus,
    opendnp3.ICollectionIndexedAnalogOutputStatus: visitors.VisitorIndexedAnalogOutputStatus,
}


class Seen(opendnp3.ISOEHandler):
    def __init__(self):
        super().__init__()
        self.values = {}

    def Process(self, info, values):
        kind = VISITORS.get(type(values))
        if kind is None:
            return
        visitor = kind()
        values.Foreach(visitor)
        for index, value in visitor.index_and_value:
            self.values[f"{str(info.gv).split('.')[-1]}/{index}"] = value

    def Start(self):
        pass

    def End(self):
        pass


def until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def main(host, port, command=""):
    out = os.dup(1)
    os.dup2(2, 1)  # the library says what it does on standard output
    seen = Seen()
    log, listener = asiodnp3.ConsoleLogger().Create(), asiodnp3.PrintingChannelListener().Create()
    application = asiodnp3.DefaultMasterApplication().Create()
    manager = asiodnp3.DNP3Manager(1, log)
    retry = asiopal.ChannelRetry().Default()
    channel = manager.AddTCPClient("tcp", opendnp3.levels.NOTHING, retry, host, "0.0.0.0", port, listener)
    config = asiodnp3.MasterStackConfig()
    config.master.responseTimeout = openpal.TimeDuration().Seconds(5)
    config.master.timeSyncMode = opendnp3.TimeSyncMode.NonLAN
    config.link.RemoteAddr, config.link.LocalAddr = 10, 1
    master = channel.AddMaster("master", seen, application, config)
    master.SetLogFilters(openpal.LogFilters(0))
    scan = master.AddClassScan(
        opendnp3.ClassField().AllEventClasses(), openpal.TimeDuration().Seconds(1), opendnp3.TaskConfig().Default()
    )
    master.Enable()

    read = until(lambda: "Group40Var3/0" in seen.values)
    first = dict(seen.values)
    if command:
        nobody, plain = asiodnp3.PrintingCommandCallback.Get(), opendnp3.TaskConfig().Default()
        if command == "setpoint":
            master.SelectAndOperate(opendnp3.AnalogOutputFloat32(44.5), 0, nobody, plain)
        elif command == "output":
            latch_off = opendnp3.ControlRelayOutputBlock(opendnp3.ControlCode.LATCH_OFF)
            master.SelectAndOperate(latch_off, 0, nobody, plain)
        else:
            master.DirectOperate(opendnp3.AnalogOutputInt16(7), 1, nobody, plain)
        time.sleep(20)
        return
    master.ScanAllObjects(opendnp3.GroupVariationID(30, 1), opendnp3.TaskConfig().Default())
    master.ScanRange(opendnp3.GroupVariationID(40, 2), 0, 1, opendnp3.TaskConfig().Default())
    ranges = until(lambda: "Group30Var1/0" in seen.values and "Group40Var2/1" in seen.values)
    restart = opendnp3.FunctionCode.COLD_RESTART
    master.PerformFunction("restart", restart, [], opendnp3.TaskConfig().Default())
    time.sleep(1)
    found = {"read": read, "first": first, "ranges": ranges, "int": seen.values.get("Group40Var2/0")}
    os.write(out, json.dumps(found).encode() + b"\n")
    assert scan is not None
    os._exit(0)  # the library's threads have no end of their own


main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
