"""paho-mqtt against a broker with the accounts of `stations.broker`: `paho_client.py HOST PORT`, one JSON line out."""

import json
import sys
import time

import paho.mqtt.client as mqtt

LATEST = mqtt.CallbackAPIVersion.VERSION2


def until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Client:
    def __init__(self, host, port, name, user=None, password=None, *, clean=True, will=None, keep_alive=30):
        self.messages, self.code, self.granted, self.present, self.lost = [], None, [], None, None
        self.client = client = mqtt.Client(LATEST, name, clean_session=clean, protocol=mqtt.MQTTv311)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_subscribe = lambda *said: self.granted.append([code.value for code in said[3]])
        client.on_message = lambda *said: self.messages.append(
            [said[2].topic, said[2].payload.decode(), said[2].qos, said[2].retain]
        )
        if user:
            client.username_pw_set(user, password)
        if will:
            client.will_set(*will)
        client.connect(host, port, keep_alive)
        client.loop_start()
        until(lambda: self.code is not None)

    def _connected(self, client, data, flags, reason, properties):
        self.code, self.present = reason.value, flags.session_present

    def _disconnected(self, client, data, flags, reason, properties):
        self.lost = reason.value

    def subscribe(self, *wanted):
        known = len(self.granted)
        self.client.subscribe(list(wanted))
        until(lambda: len(self.granted) > known)
        return self.granted[-1]

    def publish(self, topic, payload, qos=0, retain=False):
        self.client.publish(topic, payload, qos, retain).wait_for_publish(10)

    def stop(self, *, abruptly=False):
        if abruptly:
            self.client._sock.close()
        else:
            self.client.disconnect()
        self.client.loop_stop()

    def has(self, count):
        until(lambda: len(self.messages) >= count, 10)
        return self.messages


def main(host, port):
    found = {}
    refused = [Client(host, port, "x", *login) for login in ((), ("panel", "wrong"), ("nobody", "p-secret"))]
    found["refused"] = [client.code for client in refused]
    for client in refused:
        client.stop()
    panel = Client(host, port, "probe-panel", "panel", "p-secret")
    visitor = Client(host, port, "probe-visitor", "visitor", "v-secret")
    found["granted"] = panel.subscribe(("a/#", 2), ("a/+/c", 1), ("$SYS/broker/version", 0))
    found["not granted"] = visitor.subscribe(("factory/#", 0), ("factory/tank/tags/level", 1), ("own/visitor/x", 2))
    panel.has(1)
    panel.publish("a/b/c", "zero", 0)
    panel.publish("a/b/c", "one", 1)
    panel.publish("a/b/c", "two", 2)
    panel.publish("b/other", "nobody listens", 1)
    found["received"] = panel.has(4)[:]
    panel.publish("factory/tank/tags/level", "7", 1, True)
    panel.publish("factory/tank/other", "no", 1, True)
    visitor.publish("factory/tank/tags/level", "stolen", 1, True)
    visitor.publish("own/visitor/x", "mine", 2)
    found["visitor"] = visitor.has(2)[:]
    late = Client(host, port, "late", "panel", "p-secret")
    late.subscribe(("factory/tank/#", 0))
    found["retained"] = sorted(late.has(2))
    late.publish("factory/tank/other", "", 1, True)
    later = Client(host, port, "later", "panel", "p-secret")
    later.subscribe(("factory/tank/#", 2))
    found["after clearing"] = later.has(1)[:]
    dying = Client(host, port, "dying", "panel", "p-secret", will=("a/will", "gone", 1, False))
    polite = Client(host, port, "polite", "panel", "p-secret", will=("a/will", "never", 1, False))
    polite.stop()
    dying.stop(abruptly=True)
    found["will"] = panel.has(5)[4:]
    keeper = Client(host, port, "keeper", "panel", "p-secret", clean=False)
    keeper.subscribe(("keep/#", 2))
    first = keeper.present
    keeper.stop()
    for number in range(30):
        panel.publish(f"keep/{number}", str(number), number % 3)
    again = Client(host, port, "keeper", "panel", "p-secret", clean=False)
    found["kept"] = [
        first,
        again.present,
        sorted(int(message[1]) for message in again.has(20)),
        {m[3] for m in again.messages} == {False},
    ]
    rival = Client(host, port, "keeper", "panel", "p-secret", clean=True)
    until(lambda: again.lost is not None, 10)
    found["taken over"] = [rival.present, again.lost is not None]
    old = mqtt.Client(LATEST, "v5", protocol=mqtt.MQTTv5)
    codes = []
    old.on_connect = lambda *said: codes.append(said[3].getName())
    old.on_connect_fail = lambda *said: codes.append("failed")
    old.on_disconnect = lambda *said: codes.append("closed")
    old.connect(host, port)
    old.loop_start()
    until(lambda: bool(codes), 10)
    old.loop_stop()
    found["version 5"] = codes[:1]
    for client in (panel, visitor, late, later, rival):
        client.stop()
    again.client.loop_stop()
    sys.stdout.write(json.dumps(found) + "\n")


main(sys.argv[1], int(sys.argv[2]))
