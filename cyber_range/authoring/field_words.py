"""Words of the forms' fields, their choices and what they refuse. A parameter of a step without a word of its own says its key."""

from __future__ import annotations

from django.utils.translation import gettext as _


def word_of(key: str) -> str:
    words = {
        "": _("其他参数（YAML）"), "id": _("编号"), "title": _("名称"), "text": _("说明"), "kind": _("类别"), "points": _("分值"),
        "hold_seconds": _("要连续保持的秒数"), "opens_after": _("哪些攻击步骤之后才开放"), "credit": _("算给哪些席位"),
        "par_minutes": _("得满分的时间（分钟）"), "requirements": _("标准要求编号（空格分开）"), "cost": _("看提示扣分"),
        "cell": _("所属"), "max": _("最多人数"), "consoles": _("可用终端"), "sees": _("可见分区"), "at": _("时间（分钟）"),
        "body": _("正文"), "to": _("目标节点"), "sender": _("发件人"), "after_step": _("从哪个攻击步骤之后起算"),
        "expects": _("要学员做什么"), "options": _("选项"), "deadline": _("时限（发出后几分钟）"), "node": _("节点"),
        "program": _("程序代号"), "after": _("先完成的步骤"), "delay": _("等待（秒）"), "timeout": _("最长用时（秒）"),
        "on_blocked": _("受阻时改走"), "every": _("重复间隔（秒）"), "times": _("重复次数"), "prompt": _("问什么"),
        "answer": _("答案（多个时一行一个）"), "match": _("怎样比较"), "tolerance": _("允许误差"), "tries": _("可试次数（0 为不限）"),
        "choices": _("备选项（一行一个）"), "variable": _("工艺变量"), "low": _("下限"), "high": _("上限"),
        "within": _("时间窗或偏差"), "at_least": _("至少"), "at_most": _("至多"), "device": _("设备"), "tag": _("点位"),
        "fresh": _("多少秒内算新"), "from": _("来源节点"), "port": _("端口"), "proto": _("协议"), "zone": _("分区"),
        "client": _("主站"), "server": _("服务端"), "ratio": _("占正常速率的比例"), "rate": _("正常速率（次/秒）"),
        "service": _("服务"), "user": _("账号"), "password": _("密码"), "path": _("路径"), "table": _("寄存器区"),
        "address": _("地址"), "equals": _("等于"), "sha256": "SHA-256", "content": _("应有内容"), "ask": _("问程序什么"),
        "with": _("参数"), "field": _("看答复里的哪一项"), "counter": _("计数器"), "technique": _("技术"), "step": _("动作"),
        "args": _("参数"), "host": _("目标地址"), "hosts": _("目标地址（列表）"), "seconds": _("持续（秒）"), "minutes": _("持续（分钟）"),
        "value": _("写入的值"), "credentials": _("要试的账号"), "how": _("怎样进来的"), "subject": _("邮件主题"), "domain": _("域名"),
        "files": _("文件"), "folder": _("文件夹"), "machine": _("机床"), "count": _("数量"), "ports": _("端口（列表）"),
        "connections": _("连接数"), "pause": _("间隔（秒）"), "topics": _("主题"), "slot": _("槽位"), "resolver": _("域名服务器地址"),
    }  # fmt: skip
    return words.get(key, key)


def help_of(key: str) -> str:
    return {
        "id": _("小写字母开头，只含小写字母、数字、“_”“-”。改名时别处的引用会跟着改。"),
        "answer": _("可以写引用，例如 ${node.plc.ip}，各队答案就不同。"),
        "sees": _("都不选时按“*”：看到除隐藏分区外的全部。"),
        "credit": _("都不选时算给每个蓝队席位。"),
        "consoles": _("只列出给了学员终端的节点。"),
        "": _("写成“键: 值”，一行一个。"),
    }.get(key, "")


def choice_word(key: str, value: str) -> str:
    return {
        ("kind", "defence"): _("防守"), ("kind", "detect"): _("发现"), ("kind", "report"): _("报告"),
        ("cell", "white"): _("导调组"), ("cell", "blue"): _("蓝队"), ("cell", "red"): _("红队"), ("cell", "observer"): _("观摩"),
        ("expects", "nothing"): _("不用回应"), ("expects", "reply"): _("答复"), ("expects", "decision"): _("决策"),
        ("match", "text"): _("文字"), ("match", "ip"): _("IP 地址"), ("match", "number"): _("数"), ("match", "set"): _("一组值，不论顺序"),
        ("table", "coil"): _("线圈"), ("table", "discrete"): _("离散输入"), ("table", "input"): _("输入寄存器"),
        ("table", "holding"): _("保持寄存器"), ("ask", "account"): _("账号"), ("ask", "blocked"): _("是否已封堵"),
        ("ask", "patched"): _("是否已打补丁"), ("ask", "state"): _("运行状态"), ("ask", "communication"): _("通信状态"),
    }.get((key, value), value)  # fmt: skip


def check_word(kind: str) -> str:
    return {
        "submission": _("提交答案"), "plant_band": _("工艺变量在范围内"), "plant_count": _("产量增长"),
        "view_true": _("画面与现场一致"), "flow_blocked": _("通路已切断"), "poll_alive": _("轮询正常"),
        "flow_alive": _("服务有应答"), "login_fails": _("登录失败"), "login_works": _("登录成功"),
        "register_value": _("控制器的值"), "file_hash": _("文件未被改动"), "state": _("程序自述的状态"), "counter": _("计数器变化"),
    }.get(kind, kind)  # fmt: skip


def thing_word(thing: str) -> str:
    return {
        "objective": _("目标"), "hint": _("提示"), "seat": _("席位"), "inject": _("情景注入"), "step": _("攻击步骤"),
        "check": _("检查"),
    }[thing]  # fmt: skip


def refusal(why: str, word: str, *more: str) -> str:
    """What a field says to what cannot stand in it, with the remedy."""
    one, two = (*more, "", "")[:2]
    return {
        "must": _("请填写“%(word)s”。"),
        "zh": _("“%(word)s”只有英文。请先填写中文。"),
        "number": _("“%(word)s”要填数或引用，不能是“%(one)s”。例如 12.5 或 ${draw.limit}。"),
        "whole": _("“%(word)s”要填整数或引用，不能是“%(one)s”。例如 502 或 ${draw.port}。"),
        "choice": _("“%(word)s”请从这些里选：%(one)s。"),
        "yaml": _("“%(word)s”第 %(one)s 行不是正确的 YAML：%(two)s"),
        "mapping": _("“%(word)s”要写成“键: 值”，一行一个。"),
        "unknown": _("“%(word)s”不能是“%(one)s”。请从列表中选择。"),
        "name": _("编号“%(one)s”不合要求：小写字母开头，只含小写字母、数字、“_”“-”，最多 31 个字符。"),
        "taken": _("编号“%(one)s”已被使用，请换一个。"),
    }[why] % {"word": word, "one": one, "two": two}  # fmt: skip


def script_words() -> dict[str, str]:
    """What script.js says. Keys are its own."""
    return {
        "network": _("网络图"), "objective": _("目标"), "seat": _("席位"), "inject": _("情景注入"), "step": _("攻击过程"),
        "objective_one": _("目标"), "seat_one": _("席位"), "inject_one": _("情景注入"), "step_one": _("攻击步骤"),
        "add_objective": _("添加目标"), "add_seat": _("添加席位"), "add_inject": _("添加情景注入"), "add_step": _("添加攻击步骤"),
        "no_objective": _("还没有目标。先加一个：写明要学员做到什么、得几分、怎样检查。"),
        "no_seat": _("还没有席位。至少要有一个导调组和一个蓝队席位，演练才有人坐。"),
        "no_inject": _("还没有情景注入。加一条：第几分钟、发给谁、说什么。"),
        "no_step": _("还没有攻击步骤。先在网络图上添加一个“攻击者”节点，再在这里添加步骤。"),
        "up": _("上移“{name}”"), "down": _("下移“{name}”"), "up_short": _("上移"), "down_short": _("下移"),
        "checks": _("检查（全部成立才算达成）"), "add_check": _("添加检查"), "check_kind": _("检查什么"), "hints": _("提示"),
        "add_hint": _("添加提示"), "more": _("更多设置"), "points": _("分"), "minute": _("第 {n} 分钟"),
        "minute_after": _("“{step}”后 {n} 分钟"), "to": _("发给"), "zh": _("中文"), "en": _("英文"), "choose": _("请选择"),
        "when": _("时间"), "what": _("内容"), "expects": _("期望"), "order": _("次序"), "seats": _("发给席位"),
        "begin": _("开始"), "after": _("之后"), "blocked": _("受阻改走"), "key_after": _("实线：完成后接着做"),
        "key_blocked": _("虚线：受阻时改走"), "technique": _("技术（ATT&CK for ICS）"), "step_name": _("动作（程序里的代号）"),
        "args": _("参数"), "needs": _("先要得到：{what}"), "gains": _("会得到：{what}"), "nobody": _("没有可选的。"),
        "option": _("选项 {n}"), "consoles": _("终端"), "people": _("最多 {n} 人"), "no_attacker": _("没有能执行攻击的节点。请先在网络图上添加“攻击者”。"),
        "steps_note": _("步骤的先后由“先完成的步骤”和“受阻时改走”决定，图随文件一起变。"), "fault": _("有问题"), "line_at": _("{file} 第 {n} 行"),
        "moved": _("已移动“{name}”"), "any_technique": _("不限技术"),
    }  # fmt: skip
