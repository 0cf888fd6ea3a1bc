"""lb-modbus: reads, writes, identifies and watches a Modbus/TCP device."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from cyber_range.engine.agents.context import Net
from cyber_range.engine.agents.modbus_link import MAX_READ, ModbusError, ModbusLink
from cyber_range.engine.agents.tools.console import Ended, Out, Parser, say, why

TABLES = {
    "coil": "coil", "discrete": "discrete", "holding": "holding", "input": "input",
    "线圈": "coil", "离散输入": "discrete", "保持寄存器": "holding", "输入寄存器": "input",
}  # fmt: skip
OBJECTS = {0: "厂商", 1: "产品代码", 2: "版本", 3: "网址", 4: "产品名", 5: "型号"}


def parser(out: Out) -> Parser:
    top = Parser(
        out, prog="lb-modbus",
        description="读写 Modbus/TCP 设备 (read, write, identify, watch a Modbus/TCP device)",
        epilog="例：\n  lb-modbus read 10.1.2.3 holding 100 4\n  lb-modbus write 10.1.2.3 holding 100 500\n"
        "  lb-modbus id 10.1.2.3\n  lb-modbus watch 10.1.2.3 input 0 6 --every 1 --times 10",
    )  # fmt: skip
    top.add_argument("--unit", type=int, default=1, help="单元号 (unit id)")
    top.add_argument("--port", type=int, default=502, help="端口 (port)")
    commands = top.add_subparsers(dest="command", required=True, title="命令 (commands)")
    read = commands.add_parser("read", help="读取 (read)")
    watch = commands.add_parser("watch", help="持续读取，有变化就显示 (watch changes)")
    write = commands.add_parser("write", help="写入 (write)")
    identify = commands.add_parser("id", help="读设备标识 (device identification)")
    for command in (read, watch, write, identify):
        command.add_argument("host", help="地址 (address)")
    for command in (read, watch, write):
        command.add_argument("table", choices=sorted(TABLES), metavar="表", help="coil|discrete|holding|input")
        command.add_argument("address", type=int, help="起始地址，从 0 数 (first address, from 0)")
    for command in (read, watch):
        command.add_argument("count", type=int, nargs="?", default=1, help="个数 (count)")
    watch.add_argument("--every", type=float, default=1.0, help="间隔秒 (seconds)")
    watch.add_argument("--times", type=int, default=0, help="次数，0 为一直 (times, 0 = until stopped)")
    write.add_argument("values", type=int, nargs="+", help="值 (values)")
    return top


async def main(argv: Sequence[str], net: Net, out: Out) -> int:
    try:
        options = parser(out).parse_args(list(argv))
    except Ended as end:
        return end.code
    try:
        link = await ModbusLink.connect(net, options.host, options.port)
    except (OSError, TimeoutError) as exc:
        say(out, f"连接 {options.host}:{options.port} 失败：{why(exc)}")
        return 1
    try:
        if options.command == "id":
            for number, value in sorted((await link.identify(unit=options.unit)).items()):
                say(out, f"{OBJECTS.get(number, f'对象 {number}')}: {value}")
        elif options.command == "write":
            table = TABLES[options.table]
            if table not in ("coil", "holding"):
                say(out, "只有 coil 和 holding 可以写入")
                return 2
            await link.write(table, options.address, options.values, unit=options.unit)
            say(out, f"已写入 {options.table} {options.address}: {' '.join(map(str, options.values))}")
        else:
            await show(link, options, out)
    except (ModbusError, OSError, TimeoutError, ValueError) as exc:
        say(out, f"{options.host} 没有照办：{why(exc)}")
        return 1
    finally:
        link.close()
    return 0


async def show(link: ModbusLink, options: object, out: Out) -> None:
    """read and watch: one `address: value` line per point; watch shows all once, then changes only."""
    table = TABLES[options.table]  # type: ignore[attr-defined]  # argparse.Namespace has what the parser defined
    first, count, unit = options.address, options.count, options.unit  # type: ignore[attr-defined]
    if not 1 <= count <= MAX_READ[table]:
        raise ValueError(f"一次可读 1 到 {MAX_READ[table]} 个")
    before: dict[int, int] = {}
    times, every = getattr(options, "times", 1), getattr(options, "every", 0.0)
    done = 0
    while True:
        values = await link.read(table, first, count, unit=unit)
        for offset, value in enumerate(values):
            if before.get(first + offset) != value:
                stamp = time.strftime("%H:%M:%S ") if every else ""
                say(out, f"{stamp}{first + offset}: {value}")
                before[first + offset] = value
        done += 1
        if times and done >= times:
            return
        await asyncio.sleep(every)
