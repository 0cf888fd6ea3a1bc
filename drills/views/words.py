"""Words of the room that its script says; translated here so that one catalogue holds everything."""

from __future__ import annotations

from django.utils.translation import gettext as _


def room_words() -> dict[str, str]:
    return {
        "phase_planned": _("准备中"), "phase_ready": _("待开始"), "phase_running": _("进行中"), "phase_paused": _("已暂停"),
        "go_ready": _("开始演练"), "go_running": _("暂停"), "go_paused": _("继续"), "evidence": _("证据"),
        "phase_ended": _("已结束"), "phase_closed": _("已归档"),
        "lost": _("连接中断，正在重连。页面上的内容停在断开的时刻，恢复后自动补齐。"),
        "lab_lost": _("靶场失联"), "lab_launching": _("靶场正在启动"), "lab_lost_blue": _("靶场失联，导调组正在恢复。已完成的目标不受影响。"),
        "points": _("分"), "verified": _("已达成"), "holding": _("保持中"), "lost_again": _("曾达成，现已失守"), "open": _("未达成"),
        "waiting": _("未开放"), "submit": _("提交"), "right": _("正确，已记录。"), "wrong": _("不对。"), "tries_left": _("剩余次数"),
        "hint": _("提示"), "hint_cost": _("扣分"), "take_hint": _("查看提示"), "hint_confirm": _("查看提示将扣分，全队可见。确定？"),
        "inject": _("情景注入"), "read": _("已读"), "reply": _("回复"), "replied": _("已回复"), "decide": _("就这么办"), "decided": _("已决定"),
        "overdue": _("已超时"), "due_in": _("剩余"), "unread": _("未读"), "mark_read": _("标为已读"), "sent": _("已发送"),
        "now": _("立即发送"), "planned_at": _("计划"), "after_step": _("攻击步骤之后"), "mark": _("评分"), "of": _("满分"),
        "map": _("网络图"), "lane_attack": _("攻击步骤"), "lane_alert": _("告警"), "lane_team": _("队伍动作"), "lane_inject": _("情景注入"),
        "ack": _("确认"), "acked": _("已确认"), "alarm_on": _("告警"), "alarm_off": _("恢复"), "no_alarm": _("无告警"),
        "step_waiting": _("未开始"), "step_running": _("进行中"), "step_done": _("得手"), "step_blocked": _("被挡住"), "step_failed": _("失败"),
        "step_skipped": _("跳过"), "step_now": _("立即执行"),
        "node_ok": _("正常"), "node_ill": _("故障"), "node_starting": _("启动中"), "role": _("角色"), "address": _("地址"),
        "health": _("状态"), "alerts": _("告警数"), "rate": _("流量"), "packets_s": _("包/秒"), "close": _("关闭"),
        "terminal": _("终端"), "open_terminal": _("打开终端"), "terminal_ended": _("终端已结束"), "again": _("重新打开"),
        "recorded": _("本终端全程录制，演练结束后用于复盘，保存 180 天。"), "connecting": _("正在连接…"),
        "t_too_much": _("输入过多，终端已关闭。"), "t_no_seat": _("您的席位没有这个节点的终端。"), "t_limit": _("输出超过上限，终端已关闭。"),
        "t_seat": _("席位或演练已结束，终端已关闭。"), "t_idle": _("30 分钟没有输入，终端已关闭。"), "t_exit": _("命令行已退出。"),
        "no_values": _("还没有收到现场数据。靶场就绪后会自动显示。"), "stream_lost": _("现场数据中断，正在重试。"),
        "production_ok": _("生产正常"), "production_bad": _("生产中断"), "production_unknown": _("生产状态未知"),
        "report_sent": _("报告已提交（演练），编号"), "report_clock_wait": _("尚未发现事件，时限未开始"), "report_left": _("剩余"),
        "report_late": _("已超时限"), "report_done": _("首报用时"),
        "filter_all": _("全部"), "filter_alert": _("告警"), "filter_team": _("本队"), "filter_drill": _("过程"),
        "feed_empty": _("还没有事件。演练开始后，告警、注入和本队动作会依次出现在这里。"), "erased": _("(内容已按要求删除)"),
        "saved": _("已记录"), "failed": _("没有成功"), "you": _("我"), "system": _("系统"),
        "speed": _("倍速"), "confirm_word": _("结束演练"), "score": _("得分"), "ended_review": _("演练已结束，进入复盘"),
        "good": _("合格"), "over": _("超量"), "under": _("欠量"), "spill": _("溢出"), "tank": _("缓冲罐"), "tray": _("接液盘"),
        "conveyor": _("输送带"), "tripped": _("联锁跳停"), "inlet": _("进料"), "filler": _("灌装机"), "setpoint": _("设定"), "last_fill": _("上一瓶"),
        # events in words; {…} is filled by the script
        "e_drill.started": _("演练开始"), "e_drill.paused": _("演练暂停"), "e_drill.resumed": _("演练继续"),
        "e_drill.extended": _("延长 {minutes} 分钟"), "e_drill.ended": _("演练结束"), "e_drill.speed": _("时钟改为 {speed} 倍速"),
        "e_seat.taken": _("{who} 入席"), "e_seat.left": _("{who} 离席"), "e_lab.attached": _("靶场就绪（{driver}）"),
        "e_lab.launching": _("靶场启动中"), "e_lab.lost": _("靶场失联"), "e_inject.fired": _("情景注入：{title}"),
        "e_inject.read": _("{who} 已读：{title}"), "e_inject.replied": _("{who} 回复“{title}”：{text}"),
        "e_inject.decided": _("{who} 决定“{title}”：{option}"), "e_inject.marked": _("给“{title}”评 {points} 分"),
        "e_hint.given": _("{who} 查看提示（{cost} 分）：{text}"), "e_note.added": _("{who}:{text}"),
        "e_alarm.acknowledged": _("{who} 确认告警 {name}"), "e_report.submitted": _("{who} 提交事件报告 {number}(演练)"),
        "e_rating.given": _("评分：{subject} {points}/{of}"), "e_range.alert": _("{text}"), "e_range.alarm": _("{text}"),
        "e_range.trip": _("{text}"), "e_range.crossing": _("{text}"), "e_range.step": _("攻击步骤 {technique} {title}:{state}"),
        "e_range.objective": _("目标“{title}”：{state}"), "e_range.submission_right": _("{who} 提交“{title}”：正确"),
        "e_range.submission_wrong": _("{who} 提交“{title}”：不正确"), "e_range.cheat": _("{who} 提交了别队的答案（目标 {title}）"),
        "e_range.production_ok": _("生产恢复正常"), "e_range.production_bad": _("生产中断"), "e_range.console_opened": _("{who} 打开终端 {node}"),
        "e_range.console_closed": _("{who} 关闭终端 {node}"), "e_range.asset": _("发现设备 {ip}({zone})"), "e_range.node": _("节点 {node}:{health}"),
        "e_range.warning": _("{what} {remedy}"),
    }  # fmt: skip
