"""Sentences of certificates and badges. They are content, in the language of the standard, and keep to words that are ours
to use: 培训合格证书，岗位能力证明，外部登记证书."""

from __future__ import annotations

from certification.badges import Proof
from certification.models import Credential

ISSUER_NAME = "练兵 · 中小制造企业培训与演练平台"
CREDENTIAL_TITLE = "{title}"


def proven(credential: Credential) -> list[Proof]:
    """What was shown, line by line, from the decision's own record; no name, no event, no one else's result."""
    if credential.decision is None:
        return []
    body = credential.decision.body
    by_code = {criterion["code"]: criterion for criterion in body["outcome"]["criteria"]}
    lines = []
    course = body["inputs"]["sources"].get("course", {})
    if "course" in by_code:
        hours = by_code["hours"]
        lines.append(
            Proof(
                "课程学习",
                f"完成课程《{course.get('title', by_code['course']['wanted'])}》，计 {hours['got']} 标准学时（要求不少于 {hours['wanted']} 学时）。",
                "course",
            )
        )
    if "exam" in by_code:
        lines.append(Proof("理论考试", f"计算机考试合格（合格线 {by_code['exam']['wanted']} 分）。", "exam"))
    if "drill" in by_code:
        share = round(float(by_code["seat"]["wanted"]) * 100)
        lines.append(
            Proof(
                "靶场演练",
                f"在网络靶场的实操演练中在席不少于全程 {share}%，并以本人操作完成至少 {by_code['own_action']['wanted']} 项"
                f"经靶场实测核实的处置动作，演练得分合格（合格线 {by_code['drill']['wanted']} 分）。",
                "drill",
            )
        )
    if "review" in by_code:
        lines.append(Proof("综合评审", f"考评员评阅合格（合格线 {by_code['review']['wanted']} 分）。", "review"))
    if any(criterion["recognised"] for criterion in by_code.values()):
        lines.append(Proof("复核认可", "部分条件经申诉复核认可，复核记录存于签发平台。", "appeal"))
    return lines
