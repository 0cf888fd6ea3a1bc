"""Invented people for stories about data: the same stream gives the same table. Nobody in it exists."""

from __future__ import annotations

from collections.abc import Callable, Mapping

_FAMILY = "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦许何吕张孔曹严华金魏陶姜谢邹喻苏潘葛范彭鲁韦马方俞袁柳鲍史唐"
_GIVEN = "建国卫东晓明丽华志强秀英文博雨桐子涵海燕春梅国庆永康思远佳宁天佑静怡俊杰慧敏家豪"
_TOWNS = ("临江镇", "青石桥镇", "河埠头街道", "东塘乡", "柳湾街道", "白塔镇", "石门街道", "云岭乡")
_STREETS = ("解放路", "工业大道", "人民路", "沿河路", "站前街", "环城南路", "学府路", "纬三路")
_CODE = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
CODE_LENGTH = 12

Below = Callable[[int], int]  # a number 0..bound-1


def table(below: Below, rows: int, columns: Mapping[str, str]) -> str:
    """CSV with a header line, `rows` lines, line feeds only."""
    lines = [",".join(columns)]
    lines += [",".join(cell(kind, number, below) for kind in columns.values()) for number in range(1, rows + 1)]
    return "\n".join(lines) + "\n"


def cell(kind: str, number: int, below: Below) -> str:
    match kind:
        case "number":
            return f"{number:05d}"
        case "name":
            return _FAMILY[below(len(_FAMILY))] + "".join(_GIVEN[below(len(_GIVEN))] for _ in range(1 + below(2)))
        case "phone":
            return f"100{below(10**8):08d}"
        case "address":
            return f"{_TOWNS[below(len(_TOWNS))]}{_STREETS[below(len(_STREETS))]}{1 + below(299)}号"
        case "date":
            return f"2026-{1 + below(10):02d}-{1 + below(28):02d}"
        case "money":
            return f"{100 * (1 + below(900))}.00"
    return "".join(_CODE[below(len(_CODE))] for _ in range(CODE_LENGTH))
