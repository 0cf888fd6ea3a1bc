"""Words of the editor's own screens, some of which its script speaks."""

from __future__ import annotations

from django.utils.translation import gettext as _


def roles() -> dict[str, str]:
    """Roles of nodes in people's words."""
    return {
        "plant": _("工艺现场"), "plc": _("控制器"), "hmi": _("操作员站"), "historian": _("历史数据库"),
        "engineering": _("工程师站"), "workstation": _("工作站"), "server": _("服务器"), "share": _("文件服务器"),
        "mes": _("MES"), "mail": _("邮件服务器"), "web": _("网站"), "jump": _("跳板机"), "firewall": _("防火墙"),
        "router": _("路由器"), "sensor": _("探针"), "attacker": _("攻击者"), "supplier": _("供应商"),
        "internet": _("互联网主机"), "other": _("其他"),
    }  # fmt: skip


def cells() -> dict[str, str]:
    return {"white": _("导调组"), "blue": _("蓝队"), "red": _("红队"), "observer": _("观摩")}


def kinds() -> dict[str, str]:
    """Kinds of objectives, and what an inject asks for."""
    return {
        "defence": _("防守"), "detect": _("发现"), "report": _("报告"), "nothing": _("告知"), "reply": _("要求答复"),
        "decision": _("要求决策"),
    }  # fmt: skip


def pane_words() -> dict[str, str]:
    """What editor.js says. Keys are its own."""
    return {
        "saved": _("已自动保存"), "saving": _("正在保存……"), "unsaved": _("尚未保存"), "failed": _("没有保存"),
        "offline": _("连不上服务器。请检查网络，修改还在页面上，恢复后会再试。"),
        "right": _("没有问题，可以发布"), "faults": _("处问题"), "line": _("第 {n} 行"), "goto": _("去改"),
        "title": _("名称"), "english": _("英文名称"), "code": _("代号"), "role": _("角色"), "level": _("Purdue 层级"),
        "size": _("地址数（掩码长度）"), "hidden": _("隐藏分区（现场接线，学员看不到）"),
        "arp": _("地址解析"), "arp_fixed": _("固定（不能被冒充）"), "arp_learned": _("学习（可以被中间人冒充）"),
        "shell": _("给学员终端"), "forwards": _("在分区之间转发"), "gateway": _("默认网关"), "none": _("不设"),
        "oui": _("网卡厂商前缀"), "oui_help": _("例如 00:80:f4，让设备看起来像某家的产品。可不填。"),
        "raw": _("可收发原始报文（抓包、扫描）"), "admin": _("可改网络设置（仅防火墙、路由器）"),
        "apply": _("应用"), "add": _("添加"), "remove": _("删除"), "copy": _("复制"), "cancel": _("取消"),
        "add_node": _("添加节点"), "add_zone": _("添加分区"), "into": _("放进分区"), "legs": _("接入的分区"),
        "connect": _("再接入"), "move_to": _("移到分区"), "move": _("移动"), "disconnect": _("断开"),
        "earlier": _("前移"), "later": _("后移"), "upward": _("上移一层"), "downward": _("下移一层"),
        "services": _("服务（程序）"), "add_service": _("添加服务"), "with": _("参数（YAML）"), "no_services": _("还没有服务。"),
        "node": _("节点"), "zone": _("分区"), "whole": _("整个场景"), "summary": _("一句话简介"), "difficulty": _("难度"),
        "duration": _("时长（分钟）"), "incident": _("事件分类（GB/T 20986-2023 代码）"), "requirements": _("标准要求编号（空格分开）"),
        "drawn": _("按队抽取"), "given": _("自动分配"), "hub": _("监测点（立在所有网桥上）"), "lost": _("没有接入分区的节点"),
        "select_hint": _("选中图上的节点或分区后在这里修改。"), "unreadable": _("scenario.yml 现在读不懂，图停在能读懂的部分。请先在“文件”里改好。"),
        "removed": _("已删除“{name}”"), "moved": _("已把“{name}”移到“{zone}”"), "linked": _("已把“{name}”接入“{zone}”"),
        "added": _("已添加“{name}”"), "applied": _("已应用"), "undone": _("已撤销"), "redone": _("已重做"), "delete_file": _("删除文件“{name}”？可用“撤销一步”找回。"),
        "here": _("此处可写"), "nothing_here": _("此处没有可提示的内容"), "must": _("必填"),
        "conflict_mine": _("用我的内容覆盖"), "conflict_theirs": _("换成最新内容"), "position": _("第 {line} 行，第 {column} 列"), "shell_chip": _("终端"), "no_zone": _("请先添加一个分区。"), "link_handle": _("拖到另一个分区以接入"),
        "drop_here": _("放到“{zone}”"), "level_word": _("Purdue"), "port": _("端口"),
    }  # fmt: skip
