"""The part of the OPC UA server that needs asyncua, which costs a second and 30 MiB to import: only `opcua_server`
imports this, when it runs (the underscore keeps it out of the warm process, see drivers/netns/zygote.py).

asyncua (LGPL-3.0-or-later) builds 6,200 nodes of namespace 0, 50 MiB. A controller shows about a sixth of them: all
types and reference types by name, the Server object, but neither the members of types (only those of analog items) nor
the branches of Server that this server has nothing behind (security keys, publish and subscribe, roles, …).
"""

from __future__ import annotations

import asyncio
import datetime
import importlib
import ipaddress
import logging
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from asyncua import Server, ua
from asyncua.common.callback import CallbackType
from asyncua.crypto.permission_rules import ADMIN_TYPES, USER_TYPES, SimpleRoleRuleset, User, UserRole
from asyncua.server import standard_address_space
from asyncua.server.binary_server_asyncio import BinaryServer
from asyncua.server.internal_server import InternalServer
from asyncua.server.user_managers import UserManager

from cyber_range.engine.agents.context import Closable, NodeContext
from cyber_range.engine.agents.controller import Controller
from cyber_range.engine.process.controllers import Tag

ROLES = {"viewer": UserRole.Anonymous, "operator": UserRole.User, "admin": UserRole.Admin}
SERVER, ROLE_SET, LAST_BASIC_TYPE = 2253, 15606, 900  # node ids of namespace 0 (OPC 10000-6, NodeIds.csv)
LEFT_OUT = frozenset(
    {12637, 14443, 24226, 32637, 32754, 19372, 17594, 32530, 16314, 11202, 31915, 23470, ROLE_SET}
)  # branches
WITH_MEMBERS = frozenset({2365, 2368, 15318, 17497, 17570})  # data item, analog item and its relatives
TYPES = frozenset({ua.NodeClass.ObjectType, ua.NodeClass.VariableType})
logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # it tells every refused login, on nobody's terminal
EVERY = 0.25  # s between updates of the variables
# UNECE recommendation 20 as OPC 10000-8, 5.6.4.2 numbers it: the characters of the code as bytes of one number
UNITS = {
    "%": ("P1", "percent"), "℃": ("CEL", "degree Celsius"), "°C": ("CEL", "degree Celsius"), "mL": ("MLT", "millilitre"),
    "L": ("LTR", "litre"), "L/min": ("L2", "litre per minute"), "L/h": ("E32", "litre per hour"),
    "m³/h": ("MQH", "cubic metre per hour"), "m³": ("MTQ", "cubic metre"), "bar": ("BAR", "bar"),
    "kPa": ("KPA", "kilopascal"), "MPa": ("MPA", "megapascal"), "kW": ("KWT", "kilowatt"), "kWh": ("KWH", "kilowatt hour"),
    "V": ("VLT", "volt"), "A": ("AMP", "ampere"), "s": ("SEC", "second"), "ms": ("C26", "millisecond"),
    "min": ("MIN", "minute"), "mm": ("MMT", "millimetre"), "kg": ("KGM", "kilogram"), "g": ("GRM", "gram"),
    "Hz": ("HTZ", "hertz"), "r/min": ("RPM", "revolutions per minute"), "kN": ("B47", "kilonewton"), "pH": ("Q30", "pH"),
}  # fmt: skip


class KeptNodes:
    """Takes what the generated functions of asyncua want to add, and keeps the part described above."""

    def __init__(self, service: Any, space: Any) -> None:
        self._service, self._space = service, space
        self._instances = {84}
        self._nodes: list[Any] = []
        self._references: list[Any] = []

    def _kept(self, item: Any) -> bool:
        number, parent = item.RequestedNewNodeId.Identifier, item.ParentNodeId.Identifier
        if item.NodeClass in TYPES or item.NodeClass == ua.NodeClass.ReferenceType:
            return True
        if item.NodeClass == ua.NodeClass.DataType:
            return bool(number <= LAST_BASIC_TYPE)
        if number in self._instances or (parent in self._instances and number not in LEFT_OUT):
            self._instances.add(number)
            return True
        return parent in WITH_MEMBERS or 78 <= number <= 83  # the latter: modelling rules

    def add_nodes(self, items: list[Any]) -> None:
        kept = [item for item in items if self._kept(item)]
        self._nodes += self._service.try_add_nodes(kept, check=False)

    def add_references(self, items: list[Any]) -> None:
        self._references += [item for item in items if item.SourceNodeId in self._space]

    def finish(self) -> None:
        """What came before its parent or type, and references whose two ends are there."""
        list(self._service.try_add_nodes(self._nodes, check=False))
        there = [item for item in self._references if item.TargetNodeId in self._space]
        list(self._service.try_add_references(there))
        # such a reference may also have been written down at its other end
        for node in self._space._nodes.values():
            node.references = [reference for reference in node.references if reference.NodeId in self._space]


class TrimmedServer(InternalServer):
    async def load_standard_address_space(self, shelffile: Path | None = None) -> None:
        # in a thread, as asyncua does: nodes of the memory driver share this loop
        await asyncio.to_thread(self._fill)

    def _fill(self) -> None:
        kept = KeptNodes(self.node_mgt_service, self.aspace)
        prefix = f"{standard_address_space.__name__}."
        for name in parts():
            module = importlib.import_module(prefix + name)
            getattr(module, f"create_{name}".replace("_services", "_Services"))(kept)
            sys.modules.pop(prefix + name, None)
            vars(module).clear()  # 9 MiB of generated functions that nobody calls again; a cycle, were it not cut
        kept.finish()


def node_id(identifier: str | int, index: int) -> ua.NodeId:
    return ua.NodeId(identifier, index)  # type: ignore[arg-type]  # asyncua says its own integers, and takes any


def parts() -> Iterator[str]:
    """Names of the generated modules in their order: standard_address_space_services_1, …"""
    start = "standard_address_space_services_"
    found = [each.name for each in pkgutil.iter_modules(standard_address_space.__path__) if each.name.startswith(start)]
    yield from sorted(found, key=lambda name: int(name.removeprefix(start)))


class Users(UserManager):
    """Logins from the spec. `anonymous` is the role of who brings none, or "" when nobody may."""

    def __init__(self, users: Mapping[str, Mapping[str, str]], anonymous: str) -> None:
        self._users, self._anonymous = users, anonymous

    def get_user(
        self, iserver: Any, username: str | None = None, password: str | None = None, certificate: Any = None
    ) -> User | None:
        if username is None:
            return User(role=ROLES[self._anonymous]) if self._anonymous else None
        known = self._users.get(username)
        if known is None or str(known.get("password", "")) != (password or ""):
            return None
        return User(role=ROLES[str(known.get("role", "operator"))], name=username)


class Rules(SimpleRoleRuleset):
    """Viewers do not write and call nothing; operators do; the address space is the admin's."""

    def __init__(self) -> None:
        super().__init__()
        users, admins = ({node_id(number, 0) for number in numbers} for numbers in (USER_TYPES, ADMIN_TYPES))
        acting = {
            node_id(ua.ObjectIds.WriteRequest_Encoding_DefaultBinary, 0),
            node_id(ua.ObjectIds.CallRequest_Encoding_DefaultBinary, 0),
        }
        self._may = {
            UserRole.Anonymous: users - acting, UserRole.User: users, UserRole.Admin: users | admins,
        }  # fmt: skip

    def check_validity(self, user: Any, action_type_id: Any, body: Any) -> bool:
        return action_type_id in self._may[user.role]


class NodeBinaryServer(BinaryServer):
    """asyncua's server of the binary protocol, accepting through the node's network instead of a socket of its own."""

    def __init__(self, node: NodeContext, server: Server, port: int) -> None:
        super().__init__(server.iserver, "", port, server.limits)
        self._node = node
        self._listener: Closable | None = None

    async def start(self) -> None:
        self._listener = await self._node.net.create_server(self._make_protocol, self.port)

    def close(self) -> None:
        """At once; what belongs to the sessions is cleared away by `Space.clear`."""
        if self._listener is not None:
            self._listener.close()
        for transport in list(self.iserver.asyncio_transports):
            transport.close()

    async def clear(self) -> None:
        await self._close_tasks()


class Space:
    """The server of one controller: its nodes, kept as the controller's tags are."""

    def __init__(self, node: NodeContext, controller: Controller) -> None:
        self._node, self._controller = node, controller
        spec = node.spec
        self.port = int(spec.get("port", 4840))
        self.identity: dict[str, str] = {
            "vendor": "Hengda Automation", "product": "HD-UA Line Server", "version": "2.4.1", "build": "2417",
            "name": "Line1", **(spec.get("identity") or {}),
        }  # fmt: skip
        users = Users(spec.get("users") or {}, str(spec.get("anonymous", "viewer")))
        self.server = Server(iserver=TrimmedServer(user_manager=users))
        self._binary: NodeBinaryServer | None = None
        self._variables: dict[Any, tuple[Tag, Any]] = {}  # node id: tag and variant type
        self._shown: dict[Any, float | bool | int] = {}

    async def build(self) -> None:
        server, said = self.server, self.identity
        server.product_uri = f"urn:{said['vendor']}:{said['product']}".replace(" ", "")
        server.manufacturer_name = said["vendor"]
        server.set_server_name(f"{said['product']} @ {self._node.name}")
        server.application_type = ua.ApplicationType.Server
        legs = [
            leg.ip for leg in self._node.net.interfaces() if leg.ip and not ipaddress.ip_address(leg.ip).is_loopback
        ]
        server.set_endpoint(f"opc.tcp://{legs[0] if legs else self._node.name}:{self.port}/")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity], permission_ruleset=Rules())
        named = bool(self._node.spec.get("users"))
        anonymous = bool(str(self._node.spec.get("anonymous", "viewer")))
        server.set_identity_tokens(
            ([ua.AnonymousIdentityToken] if anonymous else []) + ([ua.UserNameIdentityToken] if named else [])
        )
        server.disable_clock()  # its loop takes a second to end; `follow` sets the clock
        await server.init()
        await server.set_application_uri(f"urn:{self._node.name}:{said['product']}".replace(" ", ""))
        await server.set_build_info(
            server.product_uri, said["vendor"], said["product"], said["version"], said["build"],
            datetime.datetime(2025, 3, 14, tzinfo=datetime.UTC),
        )  # fmt: skip
        index = await server.register_namespace(f"urn:{said['vendor']}:line".replace(" ", ""))
        device = await server.nodes.objects.add_object(node_id(said["name"], index), f"{index}:{said['name']}")
        tags = await device.add_folder(node_id(f"{said['name']}.Tags", index), f"{index}:Tags")
        for tag in self._controller.tag_list:
            await self._add_variable(tags, index, tag)
        await self._add_control(device, index)
        server.iserver.callback_service.addListener(CallbackType.PostWrite, self._written)  # type: ignore[arg-type]  # says str, takes its enum

    async def _add_variable(self, folder: Any, index: int, tag: Tag) -> None:
        config = (self._node.spec.get("tags") or {}).get(tag.name) or {}
        name = str(config.get("name", tag.name))
        bit = tag.table in ("coil", "discrete")
        kind = ua.VariantType.Boolean if bit else (ua.VariantType.Int32 if tag.scale == 1 else ua.VariantType.Float)
        nodeid = node_id(f"{self.identity['name']}.{name}", index)
        variable = await folder.add_variable(
            nodeid, f"{index}:{name}", self._typed(tag, kind), varianttype=kind,
            datatype=node_id(kind.value, 0),
        )  # fmt: skip
        await variable.write_attribute(
            ua.AttributeIds.Description, ua.DataValue(ua.Variant(ua.LocalizedText(tag.zh, "zh-CN")))
        )
        if tag.operator:
            await variable.set_writable()
        if not bit:
            await self._make_analog(variable, tag, config)
        self._variables[nodeid] = tag, kind

    async def _make_analog(self, variable: Any, tag: Tag, config: Mapping[str, Any]) -> None:
        """An AnalogItemType (OPC 10000-8, 5.3.2): range and engineering unit as properties."""
        analog = node_id(ua.ObjectIds.AnalogItemType, 0)
        plain = await variable.read_type_definition()
        await variable.delete_reference(plain, ua.ObjectIds.HasTypeDefinition, forward=True, bidirectional=False)
        await variable.add_reference(analog, ua.ObjectIds.HasTypeDefinition, forward=True, bidirectional=False)
        low, high = config.get("range") or (0, 100 if tag.unit == "%" else 32767 / tag.scale)
        await variable.add_property(0, "EURange", ua.Range(float(low), float(high)))
        if tag.unit:
            code, title = UNITS.get(tag.unit, ("", tag.unit))
            unit = ua.EUInformation(
                "http://www.opcfoundation.org/UA/units/un/cefact",
                int.from_bytes(code.encode(), "big") if code else -1,
                ua.LocalizedText(tag.unit),
                ua.LocalizedText(title),
            )
            await variable.add_property(0, "EngineeringUnits", unit)

    async def _add_control(self, device: Any, index: int) -> None:
        """Methods that start, stop and restart the controller."""
        control = await device.add_object(node_id(f"{self.identity['name']}.Control", index), f"{index}:Control")
        controller = self._controller

        def start(_parent: Any) -> list[Any]:
            controller.set_mode("run", "opcua")
            return []

        def stop(_parent: Any) -> list[Any]:
            controller.set_mode("stop", "opcua")
            return []

        def restart(_parent: Any) -> list[Any]:
            controller.restart("opcua")
            return []

        verbs: Mapping[str, Callable[[Any], list[Any]]] = {"Start": start, "Stop": stop, "Restart": restart}
        for name, verb in verbs.items():
            nodeid = node_id(f"{self.identity['name']}.Control.{name}", index)
            await control.add_method(nodeid, f"{index}:{name}", verb, [], [])
        self._mode = await control.add_variable(
            node_id(f"{self.identity['name']}.Control.Mode", index), f"{index}:Mode", controller.mode
        )

    def _typed(self, tag: Tag, kind: Any) -> float | bool | int:
        value = self._controller.tags[tag.name]
        if kind == ua.VariantType.Boolean:
            return bool(value)
        return round(value) if kind == ua.VariantType.Int32 else float(value)

    async def _written(self, event: Any, _: Any) -> None:
        """A client wrote: good results become the controller's tags."""
        if not event.is_external:
            return
        for value, result in zip(event.request_params.NodesToWrite, event.response_params, strict=True):
            known = self._variables.get(value.NodeId)
            if known is None or value.AttributeId != ua.AttributeIds.Value or not result.is_good():
                continue
            tag = known[0]
            number = float(value.Value.Value.Value)
            self._controller.write(tag.name, number)
            self._shown.pop(value.NodeId, None)  # told again even if the controller did not take it
            self._controller.told(
                {"where": value.NodeId.to_string(), "tag": tag.name, "value": round(number, 6),
                 "source": str(event.user.name or "")}
            )  # fmt: skip

    async def follow(self) -> None:
        """One update: variables that changed, the clock, the mode."""
        now = datetime.datetime.now(datetime.UTC)
        space = self.server.iserver
        for nodeid, (tag, kind) in self._variables.items():
            value = self._typed(tag, kind)
            if self._shown.get(nodeid) != value:
                self._shown[nodeid] = value
                said = ua.DataValue(ua.Variant(value, kind), SourceTimestamp=now, ServerTimestamp=now)  # type: ignore[arg-type]
                await space.write_attribute_value(nodeid, said)
        await space.current_time_node.write_value(now)
        mode = "run" if self._controller.running else "stop"
        if self._shown.get("mode") != mode:
            self._shown["mode"] = mode  # type: ignore[assignment]  # the one text among the values
            await self._mode.write_value(mode)

    # ------------------------------------------------------------ network

    async def start(self) -> None:
        """The endpoints and the server's state, once; the door is opened by `open`."""
        await self.server._setup_server_nodes()
        await self.server.iserver.start()

    async def open(self) -> Callable[[], None]:
        binary = NodeBinaryServer(self._node, self.server, self.port)
        binary.set_policies(self.server._policies)
        await binary.start()
        self._binary = binary
        return binary.close

    async def stop(self) -> None:
        if self._binary is not None:
            await self._binary.clear()
        await self.server.iserver.stop()
