"""Names, greetings and web requests, against scapy's packets and by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.netbios import NBNSHeader, NBNSRegistrationRequest
from scapy.layers.tls.extensions import ServerName, TLS_Ext_ServerName
from scapy.layers.tls.handshake import TLSClientHello
from scapy.layers.tls.record import TLS

from cyber_range.engine.sensor.protocols.http import Http, normal
from cyber_range.engine.sensor.protocols.message import REQUEST, RESPONSE
from cyber_range.engine.sensor.protocols.names import Dhcp, Dns, Nbns
from cyber_range.engine.sensor.protocols.office import Ssh, Tls


@pytest.mark.parametrize("stream", [False, True])
def test_a_dns_question_and_its_refusal(stream: bool) -> None:
    decoder = Dns(stream=stream)
    question = bytes(DNS(rd=1, qd=DNSQR(qname="mes.plant.example", qtype="TXT")))
    answer = bytes(DNS(qr=1, rcode=3, qd=DNSQR(qname="mes.plant.example", qtype="TXT"), an=[DNSRR(rrname="x")] * 2))
    prefix = (lambda data: len(data).to_bytes(2, "big") + data) if stream else bytes

    (asked,) = decoder.feed(True, prefix(question))
    (told,) = decoder.feed(False, prefix(answer))

    assert (asked.kind, asked.function, asked.buffers["dns.query"]) == (REQUEST, 16, b"mes.plant.example")
    assert (told.kind, told.error, told.fields["answers"]) == (RESPONSE, 3, 2)


def test_names_that_point_at_themselves_are_no_names() -> None:
    head = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0"

    assert Dns().feed(True, head + b"\xc0\x0c\0\x01\0\x01") == ()


def test_dhcp_and_netbios_tell_host_names() -> None:
    options = [("message-type", "request"), ("hostname", b"SC-PC-03"), ("vendor_class_id", b"MSFT 5.0"), "end"]
    lease = bytes(BOOTP(op=1) / DHCP(options=options))
    name = bytes(NBNSHeader() / NBNSRegistrationRequest(QUESTION_NAME=b"SC-PC-03", SUFFIX=0x4141))

    assert Dhcp().feed(True, lease)[0].identity == {"name": "SC-PC-03", "system": "MSFT 5.0"}
    assert Nbns().feed(True, name)[0].identity == {"name": "SC-PC-03"}


def test_ssh_says_what_it_is_in_pieces_too() -> None:
    decoder = Ssh()

    assert decoder.feed(False, b"SSH-2.0-Open") == ()
    (server,) = decoder.feed(False, b"SSH_9.2\r\nrest")
    (client,) = decoder.feed(True, b"SSH-2.0-paramiko_3.4\r\n")

    assert (server.identity, client.buffers["ssh.software"]) == ({"ssh": "OpenSSH_9.2"}, b"paramiko_3.4")
    assert decoder.done


def test_tls_server_name_is_read_across_segments() -> None:
    names = TLS_Ext_ServerName(servernames=[ServerName(servername=b"mes.plant.example")])
    hello = bytes(TLS(msg=[TLSClientHello(ext=[names])]))
    decoder = Tls()

    assert decoder.feed(True, hello[:40]) == ()
    (message,) = decoder.feed(True, hello[40:])

    assert message.buffers == {"tls.sni": b"mes.plant.example"}


REQUEST_TEXT = (
    b"POST /cgi-bin/%2e%2e/x?a=1 HTTP/1.1\r\nHost: HMI.plant\r\nUser-Agent: curl/8\r\nContent-Length: 5\r\n\r\nhello"
    b"GET /next HTTP/1.1\r\nHost: hmi\r\n\r\n"
)
ANSWER_TEXT = (
    b"HTTP/1.1 200 OK\r\nServer: lighttpd/1.4\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n"
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
)


@given(st.integers(1, 60))
@settings(deadline=None)
def test_http_is_read_whatever_the_segments(size: int) -> None:
    decoder = Http()

    asked = [m for at in range(0, len(REQUEST_TEXT), size) for m in decoder.feed(True, REQUEST_TEXT[at : at + size])]
    told = [m for at in range(0, len(ANSWER_TEXT), size) for m in decoder.feed(False, ANSWER_TEXT[at : at + size])]

    assert [(m.buffers["http.method"], m.buffers["http.uri"], m.buffers["http.request_body"]) for m in asked] == [
        (b"POST", b"/x?a=1", b"hello"), (b"GET", b"/next", b""),
    ]  # fmt: skip
    assert [(m.function, m.error, m.buffers["http.response_body"]) for m in told] == [
        (200, 0, b"abcdefg"), (404, 404, b""),
    ]  # fmt: skip
    assert told[0].identity == {"http_server": "lighttpd/1.4"}
    assert not decoder.broken


def test_an_answer_to_head_has_no_body_whatever_its_length_says() -> None:
    decoder = Http()
    decoder.feed(True, b"HEAD / HTTP/1.1\r\n\r\n")

    told = decoder.feed(False, b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")

    assert [m.function for m in told] == [200, 100]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (b"/a/b", b"/a/b"), (b"/a//b", b"/a/b"), (b"/a/./b/", b"/a/b/"), (b"/a/%2e%2e/b?x=../y", b"/b?x=../y"),
        (b"/../../etc/passwd", b"/etc/passwd"), (b"/a/..", b"/"), (b"*", b"*"), (b"/", b"/"), (b"//", b"/"),
    ],
)  # fmt: skip
def test_the_path_is_read_as_a_server_reads_it(written: bytes, meant: bytes) -> None:
    assert normal(written) == meant
