"""A controller's user program: named blocks of text that a network master may read, replace and delete.

Each block is what an engineering tool would load: lines of instructions that the controller carries out around its
built-in logic (process.controllers). So a downloaded block changes what the plant does, and its SHA-256 proves it.

    PROGRAM tank                   which logic this is for; a block without this line is a patch to it
    DECLARE level_setpoint %       comment-like: what the tool knew of the tags
    SET <tag> <number>             before every scan the tag has this value, whatever was written to it
    FORCE <output> <number>        the output has this value, whatever the logic says
    SCALE <output> <factor>
    LIMIT <output> <low> <high>
    SHOW <tag> <number>            after the scan the tag reads so (a falsified indication)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass

from cyber_range.engine.process.controllers import Tag

MAIN = "OB1"  # the block that is scanned; without it a controller does not run
OPERANDS = {"SET": 1, "FORCE": 1, "SCALE": 1, "LIMIT": 2, "SHOW": 1}
LARGEST_BLOCK = 64 * 1024  # bytes


class BadBlock(ValueError):
    """A block that this controller does not take; says the line."""


@dataclass(frozen=True, slots=True)
class Instruction:
    verb: str
    name: str
    operands: tuple[float, ...]


def parse(code: bytes) -> tuple[Instruction, ...]:
    """Instructions of one block; BadBlock names the first line that is none."""
    if len(code) > LARGEST_BLOCK:
        raise BadBlock(f"a block holds {LARGEST_BLOCK} bytes at most, this has {len(code)}")
    try:
        lines = code.rstrip(b"\0").decode("utf-8").splitlines()
    except UnicodeDecodeError as exc:
        raise BadBlock(f"byte {exc.start} is no text") from exc
    found = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0] in ("PROGRAM", "DECLARE", "REVISION") or words[0].startswith("//"):
            continue
        wanted = OPERANDS.get(words[0])
        if wanted is None or len(words) != 2 + wanted:
            raise BadBlock(f"line {number} is no instruction: {line.strip()[:60]!r}")
        try:
            operands = tuple(float(word) for word in words[2:])
        except ValueError as exc:
            raise BadBlock(f"line {number} has no number: {line.strip()[:60]!r}") from exc
        found.append(Instruction(words[0], words[1], operands))
    return tuple(found)


def original(logic: str, tags: Iterable[Tag], revision: str) -> bytes:
    """The main block as the machine's builder delivered it: the same bytes for the same spec."""
    lines = [f"PROGRAM {logic}", f"REVISION {revision}"]
    lines += [f"DECLARE {tag.name} {tag.table} {tag.unit}".rstrip() for tag in tags]
    return ("\n".join(lines) + "\n").encode()


class Program:
    """The blocks of one controller. `changed` counts downloads and deletions since delivery."""

    def __init__(self, blocks: Mapping[str, bytes]) -> None:
        self.blocks: dict[str, bytes] = dict(blocks)
        self._instructions = {name: parse(code) for name, code in self.blocks.items()}
        self.changed = 0

    @property
    def runnable(self) -> bool:
        return MAIN in self.blocks

    def load(self, name: str, code: bytes) -> None:
        """Takes a block as a whole or not at all."""
        self._instructions[name] = parse(code)
        self.blocks[name] = bytes(code)
        self.changed += 1

    def delete(self, name: str) -> None:
        """LookupError when there is no such block."""
        del self.blocks[name], self._instructions[name]
        self.changed += 1

    def sha256(self, name: str = "") -> str | None:
        """Of one block, or of all names and contents; None for a block that is not there."""
        if name:
            return hashlib.sha256(self.blocks[name]).hexdigest() if name in self.blocks else None
        digest = hashlib.sha256()
        for each in sorted(self.blocks):
            digest.update(f"{each}\0{len(self.blocks[each])}\0".encode() + self.blocks[each])
        return digest.hexdigest()

    def before(self, tags: MutableMapping[str, float]) -> None:
        for instruction in self._all():
            if instruction.verb == "SET" and instruction.name in tags:
                tags[instruction.name] = instruction.operands[0]

    def after(self, outputs: MutableMapping[str, float], tags: MutableMapping[str, float]) -> None:
        for instruction in self._all():
            name, operands = instruction.name, instruction.operands
            if instruction.verb == "SHOW":
                if name in tags:
                    tags[name] = operands[0]
            elif name in outputs:
                if instruction.verb == "FORCE":
                    outputs[name] = operands[0]
                elif instruction.verb == "SCALE":
                    outputs[name] *= operands[0]
                elif instruction.verb == "LIMIT":
                    outputs[name] = max(operands[0], min(operands[1], outputs[name]))

    def _all(self) -> Iterable[Instruction]:
        for name in sorted(self._instructions, key=lambda each: (each != MAIN, each)):
            yield from self._instructions[name]
