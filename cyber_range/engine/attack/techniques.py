"""The ATT&CK for ICS techniques that campaign steps can carry out: ids, names and tactics of v18.1 (2025-11-13).

Copyright 2015-2025, The MITRE Corporation. MITRE ATT&CK and ATT&CK are registered trademarks of The MITRE Corporation.
Reproduced with the permission of The MITRE Corporation. The Chinese names are this project's own.
"""

from __future__ import annotations

from dataclasses import dataclass

VERSION = "18"  # as the Navigator names it
NOTICE = "Copyright 2015-2025, The MITRE Corporation. MITRE ATT&CK and ATT&CK are registered trademarks of The MITRE Corporation."
HOLDER_URL = "https://attack.mitre.org/resources/legal-and-branding/terms-of-use/"


@dataclass(frozen=True, slots=True)
class Tactic:
    id: str
    short: str
    name: str
    zh: str


@dataclass(frozen=True, slots=True)
class Technique:
    id: str
    name: str
    zh: str
    tactics: tuple[str, ...]  # short names


TACTICS = tuple(
    Tactic(*row)
    for row in (
        ("TA0108", "initial-access", "Initial Access", "初始访问"),
        ("TA0104", "execution", "Execution", "执行"),
        ("TA0110", "persistence", "Persistence", "持久化"),
        ("TA0111", "privilege-escalation", "Privilege Escalation", "权限提升"),
        ("TA0103", "evasion", "Evasion", "规避"),
        ("TA0102", "discovery", "Discovery", "发现"),
        ("TA0109", "lateral-movement", "Lateral Movement", "横向移动"),
        ("TA0100", "collection", "Collection", "收集"),
        ("TA0101", "command-and-control", "Command and Control", "命令与控制"),
        ("TA0107", "inhibit-response-function", "Inhibit Response Function", "抑制响应功能"),
        ("TA0106", "impair-process-control", "Impair Process Control", "破坏过程控制"),
        ("TA0105", "impact", "Impact", "影响"),
    )
)

TECHNIQUES = {
    row[0]: Technique(row[0], row[1], row[2], tuple(row[3].split()))
    for row in (
        ("T0801", "Monitor Process State", "监视过程状态", "collection"),
        ("T0802", "Automated Collection", "自动收集", "collection"),
        ("T0803", "Block Command Message", "阻断命令报文", "inhibit-response-function"),
        ("T0804", "Block Reporting Message", "阻断上报报文", "inhibit-response-function"),
        ("T0806", "Brute Force I/O", "暴力改写输入输出", "impair-process-control"),
        ("T0807", "Command-Line Interface", "命令行界面", "execution"),
        ("T0809", "Data Destruction", "数据破坏", "inhibit-response-function"),
        ("T0811", "Data from Information Repositories", "从信息库取数据", "collection"),
        ("T0812", "Default Credentials", "默认口令", "lateral-movement"),
        ("T0813", "Denial of Control", "拒绝控制", "impact"),
        ("T0814", "Denial of Service", "拒绝服务", "inhibit-response-function"),
        ("T0815", "Denial of View", "拒绝监视", "impact"),
        ("T0816", "Device Restart/Shutdown", "重启或关停设备", "inhibit-response-function"),
        ("T0819", "Exploit Public-Facing Application", "利用对外应用的漏洞", "initial-access"),
        ("T0821", "Modify Controller Tasking", "修改控制器任务", "execution"),
        ("T0822", "External Remote Services", "外部远程服务", "initial-access"),
        ("T0826", "Loss of Availability", "丧失可用性", "impact"),
        ("T0827", "Loss of Control", "丧失控制", "impact"),
        ("T0828", "Loss of Productivity and Revenue", "损失产量和收入", "impact"),
        ("T0829", "Loss of View", "丧失监视", "impact"),
        ("T0830", "Adversary-in-the-Middle", "中间人", "collection"),
        ("T0831", "Manipulation of Control", "操纵控制", "impact"),
        ("T0832", "Manipulation of View", "操纵监视画面", "impact"),
        ("T0835", "Manipulate I/O Image", "操纵输入输出映像", "inhibit-response-function"),
        ("T0836", "Modify Parameter", "修改参数", "impair-process-control"),
        ("T0837", "Loss of Protection", "丧失保护", "impact"),
        ("T0838", "Modify Alarm Settings", "修改报警设置", "inhibit-response-function"),
        ("T0840", "Network Connection Enumeration", "枚举网络连接", "discovery"),
        ("T0842", "Network Sniffing", "网络嗅探", "discovery"),
        ("T0843", "Program Download", "下装程序", "lateral-movement"),
        ("T0845", "Program Upload", "上载程序", "collection"),
        ("T0846", "Remote System Discovery", "发现远程系统", "discovery"),
        ("T0848", "Rogue Master", "非法主站", "initial-access"),
        ("T0849", "Masquerading", "伪装", "evasion"),
        ("T0853", "Scripting", "脚本", "execution"),
        ("T0855", "Unauthorized Command Message", "未授权的命令报文", "impair-process-control"),
        ("T0856", "Spoof Reporting Message", "伪造上报报文", "evasion impair-process-control"),
        ("T0858", "Change Operating Mode", "改变运行方式", "execution evasion"),
        ("T0859", "Valid Accounts", "有效账号", "persistence lateral-movement"),
        ("T0861", "Point & Tag Identification", "识别点位和变量", "collection"),
        ("T0862", "Supply Chain Compromise", "供应链入侵", "initial-access"),
        ("T0863", "User Execution", "诱使用户执行", "execution"),
        ("T0864", "Transient Cyber Asset", "临时接入的设备", "initial-access"),
        ("T0865", "Spearphishing Attachment", "鱼叉邮件附件", "initial-access"),
        ("T0866", "Exploitation of Remote Services", "利用远程服务的漏洞", "initial-access lateral-movement"),
        ("T0867", "Lateral Tool Transfer", "横向传送工具", "lateral-movement"),
        ("T0868", "Detect Operating Mode", "探测运行方式", "collection"),
        ("T0869", "Standard Application Layer Protocol", "标准应用层协议", "command-and-control"),
        ("T0871", "Execution through API", "经接口执行", "execution"),
        ("T0872", "Indicator Removal on Host", "清除主机痕迹", "evasion"),
        ("T0873", "Project File Infection", "篡改工程文件", "persistence"),
        ("T0877", "I/O Image", "读取输入输出映像", "collection"),
        ("T0878", "Alarm Suppression", "抑制报警", "inhibit-response-function"),
        ("T0879", "Damage to Property", "财产损坏", "impact"),
        ("T0880", "Loss of Safety", "丧失安全", "impact"),
        ("T0881", "Service Stop", "停止服务", "inhibit-response-function"),
        ("T0882", "Theft of Operational Information", "窃取运行信息", "impact"),
        ("T0883", "Internet Accessible Device", "暴露在互联网的设备", "initial-access"),
        ("T0884", "Connection Proxy", "连接代理", "command-and-control"),
        ("T0885", "Commonly Used Port", "常用端口", "command-and-control"),
        ("T0886", "Remote Services", "远程服务", "initial-access lateral-movement"),
        ("T0888", "Remote System Information Discovery", "发现远程系统信息", "discovery"),
        ("T0889", "Modify Program", "修改程序", "persistence"),
        ("T0891", "Hardcoded Credentials", "写死的口令", "lateral-movement persistence"),
        ("T0892", "Change Credential", "修改凭据", "inhibit-response-function"),
        ("T0893", "Data from Local System", "从本机取数据", "collection"),
    )
}
