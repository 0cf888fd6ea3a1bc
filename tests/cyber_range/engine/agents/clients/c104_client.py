"""The c104 library as a control centre: `c104_client.py HOST PORT` prints what it saw as one JSON line.

A program of its own, so that the GPL library is nobody else's and runs inside a node as well. Points are those of
`stations.RTU_TAGS`.
"""

import json
import sys
import time

import c104


def until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def tried(action):
    """The library sends nothing while it still takes an earlier procedure for unfinished; then a moment later."""
    return until(action, 8)


def opened(connection):
    """The library's threads race: now and then it notes "connected, muted" after the confirmation of STARTDT has come, and
    takes itself for muted from then on. Whoever sits at such a control centre starts data transfer again."""
    for _ in range(10):
        if until(lambda: connection.state == c104.ConnectionState.OPEN, 2):
            return True
        if connection.is_muted:
            connection.unmute()
    return False


def main(host, port):
    client = c104.Client(tick_rate_ms=100, command_timeout_ms=5000)
    connection = client.add_connection(ip=host, port=port, init=c104.Init.NONE)
    station = connection.add_station(common_address=7)
    level = station.add_point(io_address=4001, type=c104.Type.M_ME_NC_1)
    setpoint = station.add_point(io_address=4005, type=c104.Type.M_ME_NB_1)
    high = station.add_point(io_address=1001, type=c104.Type.M_SP_NA_1)
    auto = station.add_point(io_address=1003, type=c104.Type.M_DP_NA_1)
    order = station.add_point(io_address=6005, type=c104.Type.C_SE_NB_1)
    switch = station.add_point(io_address=6003, type=c104.Type.C_DC_NA_1)
    switch.command_mode = c104.CommandMode.SELECT_AND_EXECUTE
    unknown = station.add_point(io_address=9999, type=c104.Type.C_SC_NA_1)
    seen = []

    def raw(connection: c104.Connection, data: bytes) -> None:
        seen.append(data)

    connection.on_receive_raw(callable=raw)
    client.start()
    connected = opened(connection)
    tried(lambda: connection.interrogation(common_address=7, wait_for_response=True))
    interrogated = until(lambda: setpoint.processed_at is not None and float(setpoint.value) != 0)
    first = {
        "level": float(level.value),
        "setpoint": float(setpoint.value),
        "high": bool(high.value),
        "auto": str(auto.value),
    }
    clock = tried(lambda: connection.clock_sync(common_address=7, wait_for_response=True))
    counters = tried(lambda: connection.counter_interrogation(common_address=7, wait_for_response=True))
    read = tried(level.read)
    order.value = c104.Int16(425)
    set_it = tried(lambda: order.transmit(cause=c104.Cot.ACTIVATION))
    switch.value = c104.Double.OFF
    switched = tried(lambda: switch.transmit(cause=c104.Cot.ACTIVATION))
    unknown.value = True
    refused = unknown.transmit(cause=c104.Cot.ACTIVATION)
    tried(lambda: connection.interrogation(common_address=7, wait_for_response=True))
    until(lambda: float(setpoint.value) == 425 and auto.value == c104.Double.OFF, 5)
    second = {"setpoint": float(setpoint.value), "auto": str(auto.value)}
    test = tried(lambda: connection.test(common_address=7, with_time=True, wait_for_response=True))
    client.stop()
    types = sorted({data[6] for data in seen if len(data) > 6 and data[2] & 1 == 0})
    sys.stdout.write(
        json.dumps(
            {
                "connected": connected,
                "interrogated": interrogated,
                "first": first,
                "clock": clock,
                "counters": counters,
                "read": read,
                "set": set_it,
                "switched": switched,
                "refused": refused,
                "second": second,
                "test": test,
                "types": types,
            }
        )
    )


main(sys.argv[1], int(sys.argv[2]))
