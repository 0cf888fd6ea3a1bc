"""What is wrong with a draft, said so that its author can mend it: where it stands, what it is, what to do.

The engine's loader judges; its sentences are English and stable. Here they are put into Chinese, by pattern, with the place
in words instead of `nodes[3].legs[0]`. A sentence nobody has put into Chinese is shown as it is rather than hidden.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.utils.translation import get_language

from cyber_range.authoring.text import parse
from cyber_range.engine.errors import ScenarioError
from cyber_range.engine.lab.written import read
from cyber_range.engine.scenario.model import Scenario


@dataclass(frozen=True, slots=True)
class Fault:
    """`node` and `zone`: what of the drawing it concerns, "" for none; `path`: place in the data, for the field of a form."""

    file: str
    line: int
    where: str
    what: str
    remedy: str
    node: str = ""
    zone: str = ""
    path: tuple[str | int, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def judge(files: Mapping[str, str], *, seeds: tuple[str, ...] = ("1",)) -> tuple[Scenario | None, list[Fault]]:
    """The checked form, or everything that is in its way."""
    try:
        return read(files, seeds=seeds), []
    except ScenarioError as error:
        found: Any = error.detail.get("problems") or [
            {"file": "scenario.yml", "line": 0, "what": error.what, "remedy": error.remedy}
        ]
    try:
        data = parse(files.get("scenario.yml", ""))
    except ScenarioError:
        data = None
    return None, [_told(one, data if isinstance(data, dict) else {}) for one in found]


_PLACE = re.compile(r"(?P<path>[a-z_]+(?:\[\d+\]|\.[^\s:.\[\]]+)*): (?P<rest>.+)", re.DOTALL)


def _told(problem: Mapping[str, Any], data: Mapping[str, Any]) -> Fault:
    what, path = str(problem["what"]), ""
    if found := _PLACE.fullmatch(what):
        path, what = found["path"], found["rest"]
    steps: list[str | int] = [
        int(one[1:-1]) if one.startswith("[") else one for one in re.findall(r"\[\d+\]|[^.\[\]]+", path)
    ]
    english = (get_language() or "").startswith("en")
    return Fault(
        str(problem["file"]),
        int(problem["line"]),
        path if english else _where(steps, data),
        what if english else in_chinese(what),
        str(problem["remedy"]) if english else in_chinese(str(problem["remedy"])),
        _of("nodes", steps, data),
        _of("zones", steps, data),
        tuple(steps),
    )


def _of(key: str, steps: list[str | int], data: Mapping[str, Any]) -> str:
    if len(steps) > 1 and steps[0] == key and isinstance(steps[1], int):
        try:
            return str(data[key][steps[1]].get("name", ""))
        except (KeyError, IndexError, AttributeError, TypeError):
            return ""
    return ""


_PLACES = {
    "zones": "分区", "nodes": "节点", "legs": "接入", "programs": "程序", "traffic": "背景流量", "campaign": "攻击步骤",
    "objectives": "目标", "checks": "检查", "hints": "提示", "seats": "席位", "injects": "情景注入", "draws": "抽取值",
    "production": "生产判据", "polls": "轮询", "produces": "产量", "solver": "标准解法", "plug": "拔线脚本", "story": "背景故事",
    "title": "名称", "summary": "简介", "difficulty": "难度", "duration": "时长", "incident_class": "事件分类", "role": "角色",
    "requirements": "标准要求", "gateway": "默认网关", "routes": "路由", "name": "代号", "id": "编号", "version": "版本号",
    "technique": "技术编号", "after": "前置步骤", "options": "选项", "consoles": "终端", "sees": "可见分区", "argv": "命令",
    "process": "工艺参数", "shell": "终端权限", "caps": "网络权限", "prefix": "掩码长度", "purdue": "Purdue 层级",
    "placement": "位置", "with": "参数", "args": "参数", "use": "程序",
}  # fmt: skip


def _where(steps: list[str | int], data: Any) -> str:
    """节点“plc2” › 程序“modbus_plc” › 参数 › logic."""
    said: list[str] = []
    here: Any = data
    for step in steps:
        try:
            here = here[step]
        except (KeyError, IndexError, TypeError):
            here = None
        if isinstance(step, int):
            own = (
                here.get("name") or here.get("id") or here.get("use") or here.get("zone")
                if isinstance(here, dict)
                else here
            )
            said[-1] = (
                f"{said[-1]}“{own}”" if isinstance(own, str) and len(own) <= 40 else f"{said[-1]}第 {step + 1} 项"
            )
        else:
            said.append(_PLACES.get(step, step))
    return " › ".join(said)


# What of things the loader may miss or not know, in Chinese.
_KINDS = {
    "zone": "分区", "node": "节点", "campaign step": "攻击步骤", "objective": "目标", "seat": "席位", "draw": "抽取值",
    "plant model": "工艺模型", "controller logic": "控制逻辑",
}  # fmt: skip


def _kind(word: str) -> str:
    if word.startswith("program of "):
        return f"节点 {word.removeprefix('program of ')} 上的程序"
    if word.startswith("device shown by "):
        return f"{word.removeprefix('device shown by ')} 显示的设备"
    if word.startswith("tag of "):
        return f"{word.removeprefix('tag of ')} 的点位"
    return _KINDS.get(word, word)


def _list(text: str) -> str:
    return "、".join(part.strip() for part in text.split(","))


_SENTENCES: tuple[tuple[str, Any], ...] = tuple(
    (re.compile(pattern, re.DOTALL), words)
    for pattern, words in (
        # the form
        (r'unknown key (.+?)\. Allowed: (.+?)(?:\. Did you mean "(.+)"\?)?', lambda m: f"没有 {m[1]} 这个键。可以用：{_list(m[2])}" + (f"。是不是“{m[3]}”？" if m[3] else "")),
        (r"(\S+) is missing", lambda m: f"缺少 {m[1]}"),
        (r'(\S+) "(.+)" is not known\. Allowed: (.+)', lambda m: f"{m[1]} 不能是“{m[2]}”。可以用：{_list(m[3])}"),
        (r"(.+) is not allowed\. Allowed: (.+)", lambda m: f"不能是 {m[1]}。可以用：{_list(m[2].replace(' or ', ', '))}"),
        (r"must be a reference like (.+)", "要写成引用，例如 {1}"),
        (r"(.+) does not have the form (.+)", "{1} 不合格式 {2}"),
        (r"must be (a whole number|a number|a list|a mapping|text)", lambda m: f"要写{_must(m[1])}"),
        (r"must be greater than or equal to (\S+)", "不能小于 {1}"),
        (r"must be less than or equal to (\S+)", "不能大于 {1}"),
        (r"must be greater than (\S+)", "必须大于 {1}"),
        (r"must be less than (\S+)", "必须小于 {1}"),
        (r"must be (.+ or .+)", lambda m: "要写" + "，或".join(_must(one) for one in m[1].split(" or "))),
        (r"(?:Tuple|List|Value|Dictionary|String) should have at least (\d+) (?:items?|characters?).*", "至少要有 {1} 个"),
        (r"(?:Tuple|List|Value|Dictionary|String) should have at most (\d+) (?:items?|characters?).*", "最多只能有 {1} 个"),
        (r"high must not be below low", "high 不能小于 low"),
        (r"one column must be a code.*", "必须有一列是 code：金丝雀数据放在那一列"),
        (r"(\S+) was withdrawn from ATT&CK for ICS; use an id of v18\.1", "{1} 已被 ATT&CK for ICS 撤销，请用 v18.1 的编号"),
        (r"(\S+) is no ATT&CK for ICS technique id; they look like T0836", "“{1}”不是 ATT&CK for ICS 技术编号，应像 T0836 这样"),
        (r"options go with expects: decision, and only with it", "options 只和 expects: decision 一起用，有决定就必须有选项"),
        # the text
        (r"(?:this is not YAML: )?nested deeper than (\d+) levels", "嵌套超过 {1} 层"),
        (r"this is not YAML: could not find expected ':'", "这里不是正确的 YAML：缺少冒号“:”"),
        (r"this is not YAML: (?:mapping values are not allowed.*)", "这里不是正确的 YAML：一行里多了冒号“:”，或缩进不对"),
        (r"this is not YAML: found character '\\t'.*", "这里不是正确的 YAML：缩进里有制表符，请改用空格"),
        (r"this is not YAML: did not find expected (.+)", "这里不是正确的 YAML：括号、引号或缩进没有配对（{1}）"),
        (r"this is not YAML: expected (.+)", "这里不是正确的 YAML：括号、引号或缩进没有配对（{1}）"),
        (r"this is not YAML: (.+)", "这里不是正确的 YAML：{1}"),
        (r'"(.+)" is written twice', "“{1}”写了两次"),
        (r"the document is not a mapping", "最外层不是“键: 值”"),
        (r"a key must be a plain word", "键必须是一个普通的词"),
        (r"this value cannot be read: (.+)", "这个值读不懂：{1}"),
        (r"(\S+) stands in scenario\.yml and in story\.yml", "{1} 在 scenario.yml 和 story.yml 里各写了一次"),
        (r"YAML anchors and aliases are not allowed here", "这里不能用 YAML 的锚点（&）和别名（*）"),
        (r"this file name is not allowed", "不能用这个文件名"),
        (r"the file is larger than (.+)", "文件超过 {1}"),
        (r"all files together are larger than (.+)", "全部文件加起来超过 {1}"),
        (r"(\d+) files are more than (\d+)", "文件有 {1} 个，最多 {2} 个"),
        (r"the file holds a zero byte|the file is not UTF-8 text", "文件不是纯文本"),
        (r"a text holds half a character", "文字里有半个字符（\\ud800 之类的转义）"),
        (r"Write the character itself", "请直接写出那个字"),
        (r"a file and a folder have the same name", "文件和文件夹重名"),
        (r"there is no scenario\.yml", "缺少 scenario.yml"),
        # network
        (r'there is no (.+) "(.*)"', lambda m: f"没有{_kind(m[1])}“{m[2]}”"),
        (r'"(.+)" is used twice', "“{1}”用了两次"),
        (r"a hub stands on the bridges and has no legs", "探针立在网桥上，不能再接入分区"),
        (r"nobody gets a shell on a hub", "探针上不能给终端"),
        (r"a node needs a leg in a zone", "节点没有接入任何分区"),
        (r"host (\S+) is outside (\d+)\.\.(\d+) of zone (\S+)", "主机号 {1} 超出分区 {4} 的 {2} 到 {3}"),
        (r"(\S+) is not a draw of kind host for zone (\S+)", "{1} 不是分区 {2} 的 host 类抽取值"),
        (r"two legs in zone (\S+)", "在分区 {1} 接了两次"),
        (r"(\S+) and (\S+) share no zone", "{1} 和 {2} 不在同一个分区"),
        (r"(\S+) does not forward", "{1} 不转发数据"),
        (r'two programs are called "(.+)"', "有两个程序都叫“{1}”"),
        (r"a node with a shell may not stand in hidden zone (\S+)", "有终端的节点不能接入隐藏分区 {1}"),
        (r"(\d+) nodes do not fit into /(\d+) \((\d+) do\)", "{1} 个节点放不进 /{2}（最多 {3} 个）"),
        (r"nodes (\S+) and (\S+) both have host (\d+) in zone (\S+)", "节点 {1} 和 {2} 在分区 {4} 的主机号都是 {3}"),
        (r"draw (\S+): no free host number (\S+) in zone (\S+)", "抽取值 {1}：分区 {3} 的 {2} 里没有空闲主机号"),
        (r"zone (\S+) has no host number left for node (\S+)", "分区 {1} 没有主机号可以给节点 {2}"),
        # campaign, objectives, seats
        (r'step "(.+)" waits for itself', "步骤“{1}”在等它自己"),
        (r'the attack program knows no step "(.+)"', "攻击程序不会“{1}”这一步"),
        (r"(.+) is not what step (\S+) does", "步骤 {2} 做的不是 {1}"),
        (r'step (\S+) needs "(.+)", and no step before it gains that on (\S+)', "步骤 {1} 需要“{2}”，而 {3} 上没有更早的步骤能得到它"),
        (r"a defence objective needs production", "防守目标必须有生产判据（production）"),
        (r"a defence objective cannot rest on submissions alone", "防守目标不能只靠提交答案"),
        (r"an objective takes one submission", "一个目标只能有一次提交"),
        (r"(\S+) has no shell", "{1} 没有终端"),
        (r"(\S+) is the attacker's; a (\S+) seat may not open it", "{1} 是攻击方的节点，{2} 席位不能打开它的终端"),
        (r"(\S+) has a trainee's shell", "{1} 有学员终端"),
        (r"(\S+) needs (.+)", "{1} 需要 {2}"),
        (r"(\$\{.+\}) has no value: (.+)", lambda m: f"{m[1]} 没有对应的值：{in_chinese(m[2])}"),
        (r"(\$\{.+\}) has no value", "{1} 没有对应的值"),
        (r'the draw "(.+)" has no part "(.+)"', "抽取值“{1}”没有“{2}”这一部分"),
        (r'a node has no "(.*)"', "节点没有“{1}”这一项"),
        (r'a zone has no "(.*)"', "分区没有“{1}”这一项"),
        (r'a range has no "(.*)"', "range 没有“{1}”这一项"),
        (r"(\S+) has no leg in (.+)", lambda m: f"{m[1]} 没有接入{'任何分区' if m[2] == 'any zone' else f'分区 {m[2]}'}"),
        (r"the folder has no file (.+)", "没有文件 {1}"),
        (r"process\.yml has no (.+)", "process.yml 里没有 {1}"),
        (r'"(.+)" is not a kind of reference', "“{1}”不是一种引用"),
        # rules of written scenarios
        (r'the catalogue has no program "(.+)"', "程序目录里没有“{1}”"),
        (r"(\w+) is not for a written scenario: .+", "{1} 由靶场自己决定，网页编写的场景不能写"),
        (r"an attack names its own range and its zones, and nothing else", "攻击程序的 lab 只能写本靶场和它的分区"),
        (r"an attack needs the zones it may touch", "攻击程序要写明可以触及的分区"),
        (r"an attack may touch zones of its own range alone", "攻击只能触及本靶场自己的分区"),
        (r"only a firewall or router may have net_admin", "只有防火墙或路由器可以有 net_admin 权限"),
        (r"only the sensor runs on the bridges", "网桥上只能运行探针"),
        (r"a sensor stands on the bridges", "探针要立在网桥上"),
        (r'"(.+)" is no bundled tool', "“{1}”不是自带工具"),
        (r'"(.+)" is no background traffic', "“{1}”不是背景流量"),
        (r'"(.+)" does not carry out attacks', "“{1}”不会执行攻击"),
        (r"(\d+) are more than (\d+)", "有 {1} 项，最多 {2} 项"),
        (r"(\d+) programs are more than (\d+)", "程序有 {1} 个，最多 {2} 个"),
        # remedies
        (r'Did you mean "(.+)"\?', "是不是“{1}”？"),
        (r"There is: none", "现在一个也没有，请先添加"),
        (r"There is: (.+)", lambda m: f"可以用：{_list(m[1])}"),
        (r"Allowed: (.+)", lambda m: f"可以用：{_list(m[1])}"),
        (r"Use one of: (.+)", lambda m: f"可以用：{_list(m[1])}"),
        (r"Begin with one of: (.+)", lambda m: f"先加其中一步：{_list(m[1])}"),
        (r"It has legs in: (.+)", lambda m: f"它接入了：{_list(m[1])}"),
        (r"It has: (.+)", lambda m: f"它有：{_list(m[1])}"),
        (r"It is one plain value", "它只是一个值"),
        (r"Add it|Add one", "请补上"),
        (r"Remove (?:it|them|some)", "请删除"),
        (r"Remove it, or change the role", "请删除，或改角色"),
        (r"Remove shell", "请去掉 shell"),
        (r"Keep one of them", "请只留一处"),
        (r"Give every one a name of its own|Give one of them a name: of its own", "请各用各的代号"),
        (r"Add legs: \[zone\]", "请把它接入一个分区"),
        (r"A node has one leg in a zone", "一个节点在一个分区只接一次"),
        (r"A gateway must stand in one of the node's zones", "网关必须和节点在同一个分区，请换一个网关，或不设"),
        (r"Set forwards: true on (\S+)", "请在 {1} 上打开“转发”"),
        (r"Set shell: true on (\S+)", "请在 {1} 上打开“学员终端”"),
        (r"Set placement: hub", "请写 placement: hub"),
        (r"Trainees never reach the wiring of the plant", "学员不能碰到现场接线。请移开它，或关掉它的终端"),
        (r"Number 1 stays free; choose another or give the zone a smaller prefix", "1 号留空；请换一个号，或把分区的掩码改小"),
        (r"Give the zone a smaller prefix", "请把分区的掩码长度改小，例如 27"),
        (r"Widen low\.\.high of the draw, or give the zone a smaller prefix", "请放宽抽取范围，或把分区的掩码改小"),
        (r"Fix one of them elsewhere", "请改其中一个"),
        (r"Add draws\.(.+)", "请加上 draws.{1}"),
        (r"Say under production: which polls and which output mean that the plant is alive", "请在 production 里写明：哪个轮询、多少产量算生产正常"),
        (r"Break the circle of after and on_blocked", "请断开 after 和 on_blocked 的循环"),
        (r"Add a check of the plant or the network", "请加一项对工艺或网络的检查"),
        (r"Split it", "请拆成两个"),
        (r"Give it to a red seat", "请交给红队席位"),
        (r"Measure from a node nobody holds", "请从没有学员终端的节点测"),
        (r"Measure where nobody but the lab writes", "请在没有学员终端的节点上测"),
        (r"The solver does only what a trainee can", "标准解法只能做学员能做的事"),
        (r"Add the node|Add the zone", "请先添加它"),
        (r"Use (ip, mac, ifname) or name", "可以用：ip、mac、ifname、name"),
        (r"Use subnet, network, first, last, broadcast, prefix or bridge", "可以用：subnet、network、first、last、broadcast、prefix、bridge"),
        (r"Use draw, node, zone, file, range or process", "可以用：draw、node、zone、file、range、process"),
        (r"Put it under nodes/", "请在 nodes/ 下添加这个文件"),
        (r"Check the spelling", "请检查拼写"),
        (r"Begin (?:it )?with schema: 1", "请以 schema: 1 开头"),
        (r"Make (?:it|them|the files) smaller", "请缩小"),
        (r"Write the value out", "请把值写全"),
        (r"Rename one of them", "请给其中一个改名"),
        (r"Only text may stand in nodes/|Save it as UTF-8", "这里只能放 UTF-8 文本"),
        (r"Use scenario\.yml, story\.yml, process\.yml, README\.md or nodes/NAME", "请用 scenario.yml、story.yml、process.yml、README.md，或 nodes/ 下的名字"),
        (r"Use two nodes", "请分成两个节点"),
        (r"Use the program attack", "请用程序 attack"),
        (r"Give the other programs a node of their own", "请把别的程序放到别的节点"),
        (r"Use traffic", "请用 traffic"),
        (r"Write (lab: .+)", "请写 {1}"),
        (r"See: python -m cyber_range\.engine attack steps", "可用的步骤见“文件”旁的可写内容"),
        (r"Use (.+)", "可以用：{1}"),
    )
)  # fmt: skip

_MUST = {
    "a whole number": "整数", "a number": "数", "a list": "列表", "a mapping": "“键: 值”", "text": "文字",
    "a reference like ${draw.name}": "引用，例如 ${draw.name}",
}  # fmt: skip


def _must(words: str) -> str:
    return _MUST.get(words.strip(), words.strip())


def in_chinese(sentence: str) -> str:
    """The loader's sentence in Chinese; itself when there are no words for it."""
    for pattern, words in _SENTENCES:
        found = pattern.fullmatch(sentence)
        if found is not None:
            if callable(words):
                return str(words(found))
            for number in range(1, (pattern.groups or 0) + 1):
                words = words.replace(f"{{{number}}}", found[number] or "")
            return str(words)
    return sentence
