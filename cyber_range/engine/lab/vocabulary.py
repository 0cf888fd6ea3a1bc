"""The catalogue a browser-written scenario picks its programs from: every program of engine.agents, in people's words.

`spec` is a beginning that the loader takes, in which an author then fills in addresses; what a program understands
beyond it stands at the head of its module. Programs that only the engine starts (the probe) are not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Use:
    """`roles`: of nodes it usually runs on; `ports`: where it answers by default; `speaks`: protocol, for the drawing."""

    zh: str
    en: str
    roles: tuple[str, ...]
    ports: tuple[int, ...] = ()
    speaks: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)


_LAB = {"range": "${range.id}", "networks": []}
_CONTROLLER = {"logic": "tank", "controller": "tank", "plant": "${node.plant.ip}", "tags": {}}

USES: Mapping[str, Use] = {
    "plant": Use("工艺过程", "The plant itself", ("plant",), spec={"model": "filling_line", "parameters": {}, "controllers": {}}),
    "modbus_plc": Use("控制器（Modbus/TCP）", "Controller (Modbus/TCP)", ("plc",), (502,), "Modbus/TCP", _CONTROLLER),
    "s7_plc": Use("控制器（S7）", "Controller (S7)", ("plc",), (102,), "S7comm", _CONTROLLER),
    "enip_plc": Use("控制器（EtherNet/IP）", "Controller (EtherNet/IP)", ("plc",), (44818,), "EtherNet/IP", _CONTROLLER),
    "opcua_server": Use("控制器（OPC UA）", "Controller (OPC UA)", ("plc", "server"), (4840,), "OPC UA", _CONTROLLER),
    "bacnet_device": Use("楼宇或冷库控制器（BACnet/IP）", "Controller (BACnet/IP)", ("plc",), (47808,), "BACnet/IP", _CONTROLLER),
    "iec104_rtu": Use("远动终端（IEC 104）", "Remote terminal unit (IEC 104)", ("plc",), (2404,), "IEC 104", _CONTROLLER),
    "dnp3_outstation": Use("远动终端（DNP3）", "Outstation (DNP3)", ("plc",), (20000,), "DNP3", _CONTROLLER),
    "mqtt_device": Use("联网设备（MQTT）", "Machine (MQTT)", ("plc", "other"), (), "MQTT", {**_CONTROLLER, "broker": "${node.broker.ip}"}),
    "modbus_hmi": Use("操作员站（Modbus）", "Operator station (Modbus)", ("hmi",), (), "Modbus/TCP", {"cycle": 0.5, "devices": []}),
    "hmi": Use("操作员站（多协议）", "Operator station (any protocol)", ("hmi",), (), "", {"cycle": 0.5, "devices": []}),
    "bacnet_bms": Use("楼控上位机（BACnet/IP）", "Supervisor (BACnet/IP)", ("hmi", "server"), (47808,), "BACnet/IP", {"devices": []}),
    "iec104_master": Use("调度主站（IEC 104）", "Control centre (IEC 104)", ("server", "hmi"), (), "IEC 104", {"devices": []}),
    "dnp3_master": Use("调度主站（DNP3）", "Master (DNP3)", ("server", "hmi"), (), "DNP3", {"devices": []}),
    "mqtt_broker": Use("消息代理（MQTT）", "Broker (MQTT)", ("server",), (1883,), "MQTT", {"users": {}, "acl": []}),
    "mqtt_panel": Use("看板（MQTT）", "Panel (MQTT)", ("hmi", "mes"), (), "MQTT", {"broker": "${node.broker.ip}", "devices": []}),
    "engineering_station": Use("工程师站", "Engineering station", ("engineering",), (), "", {"every": 60, "project": {"name": "工程", "controllers": []}}),
    "historian": Use("历史数据库", "Historian", ("historian",), (8086,), "HTTP", {"port": 8086, "every": 1, "source": {"host": "${node.hmi.ip}", "port": 8900}}),
    "job_dispatch": Use("派工站（DNC）", "Job dispatch (DNC)", ("mes", "hmi"), (), "", {"mes": {}, "share": {}, "machines": {}}),
    "business_app": Use("业务系统（MES、ERP）", "Business application (MES, ERP)", ("mes", "server", "web"), (8081,), "HTTP", {"title": "MES", "port": 8081, "accounts": [], "documents": {}}),
    "file_share": Use("文件共享", "File share", ("share", "server"), (8080,), "HTTP", {"port": 8080, "users": {}, "files": {}}),
    "mail_server": Use("邮件服务器", "Mail server", ("mail", "share", "server"), (25,), "SMTP", {"domain": "gongchang.example", "port": 25}),
    "dns_server": Use("域名服务器", "Name server", ("server",), (53,), "DNS", {"zone": "gongchang.example", "hosts": {}, "upstream": ""}),
    "log_collector": Use("日志服务器", "Log server", ("server",), (514, 8514), "syslog", {"users": {}}),
    "office_pc": Use("办公电脑的日常操作", "Office computer at work", ("workstation",), (), "", {"every": 12}),
    "jump_host": Use("跳板机（SSH）", "Jump host (SSH)", ("jump",), (22,), "SSH", {"port": 22, "accounts": []}),
    "vpn_gateway": Use("远程接入网关（VPN）", "Remote-access gateway (VPN)", ("jump",), (22,), "SSH", {"port": 22, "accounts": []}),
    "remote_engineer": Use("供应商工程师远程维护", "Supplier's engineer, remote", ("supplier",), (), "", {"gateway": {"host": "${node.vpn.ip}"}, "user": "gys", "passwords": [], "machines": [], "tags": []}),
    "firewall": Use("防火墙规则", "Firewall rules", ("firewall", "router"), (), "", {"default": "drop", "rules": []}),
    "sensor": Use("流量监测探针", "Network sensor", ("sensor",), (), "", {}),
    "internet_sink": Use("外部网站（接收外传数据）", "Outside host that takes stolen data", ("internet", "attacker", "web"), (80, 53), "HTTP", {"port": 80}),
    "attack": Use("攻击脚本", "Attack script", ("attacker", "workstation", "supplier"), (), "", {"lab": _LAB}),
    "traffic": Use("背景流量", "Background traffic", ("workstation", "server", "other"), (), "", {"mix": {"gratuitous_arp": 60}}),
}  # fmt: skip

# What a scripted blue team may type: the tools that every driver brings into every node.
TOOLS = ("lb-scan", "lb-capture", "lb-modbus", "lb-plc", "lb-fw", "lb-ssh", "lb-web", "lb-arp")
