"""The enterprise's and the learner's part: self-assessment, plan, course, exam."""

from __future__ import annotations

import secrets
from typing import Any

from certification.management.tour.steps import Diary, must
from courses import services as courses
from courses.models import CoursePage, ExamSession, Paper
from lms.accounts import services as accounts
from lms.accounts.models import Organisation, User
from lms.accounts.rules import Role
from lms.maturity import services as maturity
from lms.maturity.demo import ANSWERS, GRADES
from lms.maturity.domain.instrument import rounded
from lms.maturity.models import Assessment

COURSE = "ics-security-basics"
WRONG_ON_PURPOSE = 2  # a scripted learner who knows everything proves less than one who passes


def assess(diary: Diary, *, factory: Organisation, admin: User) -> Assessment:
    """The admin answers all questions again, a little better than last time, and submits."""
    with diary.step("企业自评：逐题作答并提交，得到等级、差距和计划") as facts:
        draft = maturity.start_assessment(factory, by=admin)
        for key in draft.instrument.questions():
            answer: Any = GRADES.get(key[6:], 0) if key.startswith("scene:") else ANSWERS[key]
            if key == "cyber_security":
                answer = ["policy", "product"]
            draft = maturity.save_answer(draft, key=key, answer=answer, by=admin)
        done = maturity.submit_assessment(draft, by=admin, pledged=True)
        result, rows = done.result, maturity.plan_of(factory)
        must(result.answered == result.questions, "自评没有答完")
        must(rows, "没有生成计划")
        facts["等级与得分"] = f"{done.level_name},{rounded(result.score)} 分"
        if result.next:
            facts["离下一级"] = (
                f"{result.next.name}：差 {rounded(result.next.points)} 分、{result.next.scenes} 个场景"
                f"(约束性 {result.next.constrained} 个)"
            )
        facts["计划"] = f"{len(rows)} 条，其中升级所需 {sum(row.needed for row in rows)} 条"
        course = the_course()
        tags = set(course.facets.filter(kind="plan").values_list("code", flat=True))
        served = [row for row in rows if tags & set(row.tags)]
        must(served, "计划里没有一条能用这门课程补上")
        facts["计划中由本课程支撑"] = f"{len(served)} 条，如“{served[0].action}”"
    return done


def the_course() -> CoursePage:
    course = CoursePage.objects.live().filter(slug=COURSE).first()
    must(course, f"没有发布的课程 {COURSE}")
    return course


def newcomer(diary: Diary, *, factory: Organisation, admin: User) -> User:
    """A new learner by invitation and one-use code."""
    with diary.step("新员工：管理员邀请，凭一次性加入码设密码并同意个人信息处理") as facts:
        name = f"newcomer{secrets.token_hex(3)}"
        user, code = accounts.invite(
            factory, username=name, name="钱𬭎", job_title="灌装线维修工", phone="",
            roles=[Role.LEARNER, Role.SECURITY], by=admin,
        )  # fmt: skip
        user = accounts.join(code=code, password=secrets.token_urlsafe(12), consented=True, ip=None)
        must(user.has_usable_password() and user.consents.exists(), "加入没有完成")
        facts["学员"] = f"{user.name}（{user.username}），{factory}"
    return user


def study(diary: Diary, *, user: User) -> CoursePage:
    """Every lesson read, every inline question answered, every lesson ended."""
    course = the_course()
    with diary.step(f"课程：学完《{course.title}》") as facts:
        enrolment = courses.enrol(user=user, course=course, by=user)
        answered = lessons = 0
        for lesson in course.lessons():
            courses.see_lesson(enrolment=enrolment, lesson=lesson)
            for block in lesson.question_blocks():
                version = block.value.current
                if version is None:
                    continue
                feedback = courses.answer_inline(
                    enrolment=enrolment, lesson=lesson, block=str(block.id), answer=courses.right_answer(version)
                )
                must(feedback.share == 1, f"随堂题答案不对：{version}")
                answered += 1
            courses.complete_lesson(enrolment=enrolment, lesson=lesson, by=user)
            lessons += 1
        completion = courses.course_completed(user, course)
        must(completion, "课程没有记为完成")
        facts["课时与随堂题"] = f"{lessons} 课时，{answered} 道随堂题"
        facts["学时"] = f"{courses.hours_earned(user, course)} 标准学时"
    return course


def sit_exam(diary: Diary, *, user: User, course: CoursePage) -> ExamSession:
    """Drawn and timed on the server; every answer saved on its own; handed in."""
    with diary.step("考试：服务器抽题、计时、逐题保存、交卷评分") as facts:
        paper = Paper.objects.filter(course=course).first()
        must(paper, "课程没有试卷")
        session = courses.open_exam(paper=paper, user=user)
        key = courses.right_answers(session)
        shown = courses.presented(session)
        for question in shown[: len(shown) - WRONG_ON_PURPOSE]:
            saved = courses.save_answer(session=session, number=question.number, answer=key[question.number], by=user)
            must(saved.state == "saved", f"第 {question.number} 题没有保存")
        session = courses.submit_exam(session=session, by=user)
        must(session.score is not None and session.score >= 60, f"考试没有通过：{session.score}")
        must(session.score < 100, "漏答了题却得满分，评分不可信")
        facts["抽题"] = f"{len(shown)} 题，种子 {session.seed[:8]}…"
        facts["成绩"] = f"{session.score} 分（故意漏答 {WRONG_ON_PURPOSE} 题）"
    return session
