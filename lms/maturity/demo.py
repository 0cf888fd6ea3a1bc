"""The demo factory's first self-assessment: a plausible 60-person beverage plant on its way to 规范级."""

from __future__ import annotations

from lms.accounts.demo import Demo
from lms.maturity import services
from lms.maturity.models import Assessment

ORDER = 5
ANSWERS = {
    "network": ["ics_network", "system_network"],
    "equipment_digital": "b20_40",
    "equipment_online": "b20_40",
    "data_collection": ["production_control", "purchasing", "warehousing", "finance", "hr"],
    "it_systems": "several",
    "cyber_security": ["product"],
    "data_security": ["product"],
    "planning": "plan",
    "mechanism": ["workflow"],
    "talent": ["staff"],
    "funding": "b0_10",
    "green": "same",
    "quality": "up",
    "market": "same",
    "value": "same",
}
GRADES = {
    "marketing": 2, "purchasing": 2, "finance": 2, "warehousing": 2, "production_control": 2, "quality_mgmt": 1,
    "equipment_mgmt": 1, "product_design": 1, "hr": 2, "collaboration": 2,
}  # fmt: skip


def load(demo: Demo) -> None:
    """Loads the instrument; answers and submits once."""
    for path in sorted(services.CONTENT.glob("instrument_*.yml")):
        services.load_instrument(path)
    factory, admin = demo.organisations["factory"], demo.people["admin"]
    if Assessment.objects.filter(organisation=factory).exists():
        return
    draft = services.start_assessment(factory, by=admin)
    for key in draft.instrument.questions():
        answer = GRADES.get(key[6:], 0) if key.startswith("scene:") else ANSWERS[key]
        draft = services.save_answer(draft, key=key, answer=answer, by=admin)
    done = services.submit_assessment(draft, by=admin, pledged=True)
    demo.say(f"数字化自评：{done.level_name},{done.score.normalize():f} 分，计划 {done.plan_rows.count()} 条")
