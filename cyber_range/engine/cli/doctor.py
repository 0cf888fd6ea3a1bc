"""`doctor`: which drivers and tools work on this machine, and for each that does not the command that brings it.

`--json` is what `lianbing doctor` reads; its sentences are in the language of the terminal, like everything said here.
Drivers speak English; what a person is likely to meet is put into Chinese here, the rest is shown as it came.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import re
import shutil
import sys
from typing import Any

from cyber_range.engine.cli.words import chinese, say, tell
from cyber_range.engine.drivers import registry

# Tools that make a drill richer where the nodes see the host's /usr; lb-* stand in for each.
TOOLS = {
    "nmap": ("lb-scan", "apt-get install nmap"),
    "tshark": ("lb-capture", "apt-get install tshark"),
    "nft": ("lb-fw", "apt-get install nftables"),
    "mbpoll": ("lb-modbus", "apt-get install mbpoll"),
    "tcpdump": ("lb-capture", "apt-get install tcpdump"),
}
CHINESE = [
    (re.compile(pattern), said)
    for pattern, said in (
        (r"^No Docker engine answers: .*\[Errno 2\].*", "没有 Docker 引擎在运行"),
        (r"^No Docker engine answers: .*\[Errno 13\].*", "当前用户无权使用 Docker 引擎"),
        (r"^No Docker engine answers: (.*)", r"Docker 引擎没有应答（\1）"),
        (r"^Docker is not installed$", "没有安装 Docker"),
        (r"^The Docker engine runs on (\S+), not on Linux$", r"Docker 引擎运行在 \1 上，不是 Linux"),
        (r"^The range image (\S+) is not built$", r"靶场镜像 \1 还没有构建"),
        (r"^The range image (\S+) is older than the sources$", r"靶场镜像 \1 比程序旧，需要重新构建"),
        (r"^The Docker engine does not work: (.*)", r"Docker 引擎工作不正常（\1）"),
        (r"^Start it: (.*), or (.*)", r"\1（没有 systemd 时：\2）"),
        (r"^See its log: (.*)", r"\1"),
        (r"^The probe of driver '(\w+)' got no answer in (\d+) s$", r"驱动 \1 的探测在 \2 秒内没有应答"),
        (r"^See whether the Docker engine hangs: (.*)", r"\1"),
        (r"^Rootless ranges need Linux namespaces; this is (\S+)$", r"免 root 靶场需要 Linux 命名空间，本机是 \1"),
        (r"^User namespaces are switched off \((.*) is 0\)$", r"用户命名空间已关闭（\1 为 0）"),
        (r"^User namespaces are for root alone here \((.*) is 0\)$", r"只有 root 能用用户命名空间（\1 为 0）"),
        (r"^No user namespace is left \(limit reached\)$", "用户命名空间数量已到上限"),
        (r"^User namespaces cannot be made \((.*)\)$", r"无法建立用户命名空间（\1）"),
        (r"^AppArmor restricts user namespaces of ordinary programs \((.*) is 1\)$", r"AppArmor 限制普通程序使用用户命名空间（\1 为 1）"),
        (r"^(sudo sysctl \S+ \S+)  \(or an AppArmor profile with `userns,` for (.*)\)$", r"\1（或为 \2 写一条含 `userns,` 的 AppArmor 规则）"),
        (r"^The container we run in forbids new user namespaces \(seccomp\)$", "所在容器禁止新建用户命名空间（seccomp）"),
        (r"^The container we run in forbids mounts$", "所在容器禁止挂载"),
        (r"^The container we run in masks /proc.*", "所在容器遮住了 /proc，命名空间无法挂载自己的 /proc"),
        (r"^Run the range host on the machine itself, or use the (\w+) or (\w+) driver$", r"在宿主机上直接运行靶场守护进程，或改用 \1、\2 驱动"),
        (r"^Use the docker driver$", "改用 docker 驱动"),
        (r"^Use the docker or memory driver$", "改用 docker 或 memory 驱动"),
        (r"^Bridges or veth pairs cannot be made \((.*)\)$", r"无法建立网桥或 veth（\1）"),
        (r"^The kernel lacks a kind of namespace, or something forbids it \((.*)\)$", r"内核缺少某种命名空间，或被禁止（\1）"),
        (r"^No more namespaces are allowed \((.*)\)$", r"命名空间数量已到上限（\1）"),
        (r"^A user namespace inside a user namespace is refused \((.*)\)$", r"不允许嵌套用户命名空间（\1）"),
        (r"^Mounting inside a user namespace is refused \((.*)\)$", r"用户命名空间内不允许挂载（\1）"),
        (r"^The kernel takes no system call filter \((.*)\)$", r"内核不接受系统调用过滤（\1）"),
        (r"^The trial of namespaces hung for (\d+) s$", r"命名空间试验 \1 秒没有结束"),
        (r"^The trial of namespaces failed: (.*)", r"命名空间试验失败（\1）"),
        (r"^Look at the kernel log: (.*)", r"\1"),
        (r"^Install the Python package '(.*)' into this environment \((.*)\)$", r"\2（缺少 Python 包 \1）"),
        # what no limit holds
        (r"^memory of a whole range is watched.*", "整个靶场的内存（每秒查看两次，内核不设上限，短时可能超出）"),
        (r"^CPU share between ranges and terminals.*", "靶场与终端之间的 CPU 份额（没有 cgroup）"),
        (r"^kernel memory of nodes with NET_ADMIN.*", "持有 NET_ADMIN 的节点所占的内核内存（网卡、规则、路由）"),
        (r"^pools the kernel counts per user id.*", "内核按用户计数的资源（管道缓冲、inotify），本机所有靶场共用"),
        (r"^(range_)?memory$", "整个靶场的内存"),
        (r"^(range_)?cpus$", "整个靶场的 CPU"),
        (r"^(range_)?pids$", "整个靶场的进程数"),
        (r"^store$", "节点的存储空间"),
    )
]  # fmt: skip
ENGLISH = {
    "range_memory": "memory of a whole range", "range_cpus": "CPU of a whole range", "range_pids": "processes of a whole range",
    "memory": "memory of a whole range", "cpus": "CPU of a whole range", "pids": "processes of a whole range", "store": "store of a node",
}  # fmt: skip


def add_to(commands: Any) -> None:
    doctor = commands.add_parser("doctor", help="本机可用的驱动和工具 / what works here")
    doctor.add_argument("--json", action="store_true", help=say("输出数据", "as data"))
    doctor.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    found = asyncio.run(look())
    if options.json:
        sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
    else:
        show(found)
    return 0


def translated(sentence: str) -> str:
    """In the language of the terminal; a sentence nobody has foreseen stays as it is."""
    if not chinese():
        return ENGLISH.get(sentence, sentence)
    for pattern, said in CHINESE:
        if match := pattern.match(sentence):
            return match.expand(said)
    return sentence


async def look() -> dict[str, Any]:
    """{"auto": name, "drivers": [{name, usable, reason, remedy, unbounded}], "tools": [{name, place, instead, remedy}]}.
    A driver whose module this version does not bring is left out."""
    probes = {
        name: probe
        for name, probe in (await registry.probe_all()).items()
        if importlib.util.find_spec(registry.DRIVERS[name].partition(":")[0]) is not None
    }
    usable = [name for name in registry.PREFERENCE if name in probes and probes[name].usable]
    return {
        "auto": usable[0] if usable else registry.PREFERENCE[-1],
        "drivers": [
            {
                "name": name,
                "usable": probe.usable,
                "reason": translated(probe.reason),
                "remedy": translated(probe.remedy),
                "unbounded": [translated(limit) for limit in probe.unbounded],
            }
            for name, probe in probes.items()
        ],
        "tools": [
            {"name": name, "place": shutil.which(name) or "", "instead": instead, "remedy": remedy}
            for name, (instead, remedy) in TOOLS.items()
        ],
    }


def show(found: dict[str, Any]) -> None:
    for driver in found["drivers"]:
        name = driver["name"]
        if driver["usable"]:
            mark = say("可用", "usable") + (say("（auto 选用）", " (auto takes it)") if name == found["auto"] else "")
            tell(f"✓ 驱动 {name}: {mark}", f"✓ driver {name}: {mark}")
            for limit in driver["unbounded"]:
                tell(f"    不能限制: {limit}", f"    cannot bound: {limit}")
        else:
            tell(f"✗ 驱动 {name}: {driver['reason']}", f"✗ driver {name}: {driver['reason']}")
            if driver["remedy"]:
                tell(f"    处置: {driver['remedy']}", f"    remedy: {driver['remedy']}")
    for tool in found["tools"]:
        name = tool["name"]
        if tool["place"]:
            tell(f"✓ {name}: {tool['place']}", f"✓ {name}: {tool['place']}")
        else:
            tell(
                f"- {name}: 没有, 节点里可用 {tool['instead']}; 安装: {tool['remedy']}",
                f"- {name}: missing, nodes have {tool['instead']}; {tool['remedy']}",
            )
