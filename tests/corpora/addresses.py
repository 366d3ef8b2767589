"""Addresses by which others have been led to where they should not connect (SSRF), and what is to become of each.

``{port}`` stands for that of a server on loopback which nobody may reach.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from core.outbound_http import Reason

METADATA: Final = "169.254.169.254"
"""Where most clouds keep credentials for their machines."""

ANSWERS: Final[Mapping[str, Sequence[Sequence[str]]]] = {
    "localhost": [["127.0.0.1", "::1"]],
    "localhost.localdomain": [["127.0.0.1"]],
    "loopback.example": [["127.0.0.1"]],
    "loopback.example.": [["127.0.0.1"]],
    "six.example": [["::1"]],
    "mapped.example": [["::ffff:127.0.0.1"]],
    "translated.example": [["64:ff9b::7f00:1"]],
    "scoped.example": [["fe80::1%lo"]],
    "private.example": [["10.0.0.1"]],
    "mixed.example": [["93.184.215.14", "127.0.0.1"]],
    "mixed-six.example": [["2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::1"]],
    "nothing.example": [[]],
    "metadata.google.internal": [[METADATA]],
    "metadata.example": [[METADATA]],
    "xn--bcher-kva.example": [["192.168.1.1"]],
    "rebinding.example": [["127.0.0.1"], ["10.0.0.1"], [METADATA], ["127.0.0.1"]],
    "kubernetes.default.svc": [["10.96.0.1"]],
}
"""What names resolve to in these tests: one answer after the other, the last one for ever."""


class Case(NamedTuple):
    """An address and why nothing is connected to."""

    url: str
    reason: Reason


def _hosts(reason: Reason, *hosts: str) -> list[Case]:
    return [Case(f"http://{host}:{{port}}/", reason) for host in hosts]


IPV4: Final = [
    *_hosts(
        "denied",
        "127.0.0.1",
        "127.255.255.254",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0X7F000001",
        "0x7f.0.0.1",
        "0x7f.1",
        "017700000001",
        "0x7f.0.0x0.01",
        "0.0.0.0",
        "0",
        "0.0",
        "10.0.0.1",
        "167772161",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "100.64.0.1",
        "192.0.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "203.0.113.9",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
    ),
    *_hosts("address", "0177.0.0.1", "00000177.0.0.1", "127.0.0.08"),
]
"""Of IPv4, as texts that some resolver takes for one: decimal, octal, hexadecimal, with parts left out."""

IPV6: Final = [
    *_hosts(
        "denied",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[0000::0001]",
        "[::]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:7f00:0001]",
        "[::ffff:0:127.0.0.1]",
        "[::ffff:10.0.0.1]",
        f"[::ffff:{METADATA}]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b:1::7f00:1]",
        f"[64:ff9b::{METADATA}]",
        "[2002:7f00:1::]",
        "[2002:a9fe:a9fe::1]",
        "[2001:0:7f00:1::]",
        "[2001:db8::1]",
        "[3fff::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[fec0::1]",
        "[ff02::1]",
        "[100::1]",
        "[5f00::1]",
    ),
    *_hosts("address", "[::1%lo]", "[::1%25lo]", "[fe80::1%251]", "[::1", "::1", "[127.0.0.1]", "[v1.x]"),
]
"""Of IPv6: mapped, translated (NAT64), tunnelled (6to4, Teredo) addresses of IPv4, and zones."""

DIGITS: Final = [
    *_hosts(
        "address",
        "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460",
        "\uff11\uff12\uff17.\uff10.\uff10.\uff11",
        "\u0661\u0662\u0667.\u0660.\u0660.\u0661",
        "\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54",
        "\u24dbocalhost",
        "loc\u00adalhost",
        "local\u200bhost",
        "127.0.0.1\u3000",
        "[::\uff11]",
    ),
    *_hosts("denied", "127\u30020\u30020\u30021", "127\uff610\uff610\uff611", "127\uff0e0\uff0e0\uff0e1"),
]
"""Letters and digits that become others where a name is prepared for DNS (IDNA)."""

NAMES: Final = [
    *_hosts(
        "denied",
        "localhost",
        "LOCALHOST",
        "localhost.localdomain",
        "loopback.example",
        "loopback.example.",
        "six.example",
        "mapped.example",
        "translated.example",
        "scoped.example",
        "private.example",
        "mixed.example",
        "mixed-six.example",
        "nothing.example",
        "bücher.example",
        "kubernetes.default.svc",
    ),
    *_hosts(
        "unresolved", "no-such-host.example", "127.0.0.1.", "127.0.0.1.nip.example", "a" * 64 + ".example"
    ),
]
"""Names: what resolves to private addresses, to several of which one is, or to none."""

CLOUDS: Final = [
    Case(f"http://{METADATA}/latest/meta-data/iam/security-credentials/", "denied"),
    Case("http://2852039166/latest/meta-data/", "denied"),
    Case("http://0xa9fea9fe/latest/meta-data/", "denied"),
    Case("http://0251.0376.0251.0376/latest/meta-data/", "address"),
    Case("http://[fd00:ec2::254]/latest/meta-data/", "denied"),
    Case("http://metadata.google.internal/computeMetadata/v1/", "denied"),
    Case("http://metadata.example/", "denied"),
    Case("http://169.254.170.2/v2/credentials/", "denied"),
    Case("http://100.100.100.200/latest/meta-data/", "denied"),
    Case("http://192.0.0.192/latest/", "denied"),
    Case("http://168.63.129.16/machine?comp=goalstate", "denied"),
]
"""Where clouds keep what is for their machines alone."""

PARTS: Final = [
    Case("http://public.example@127.0.0.1:{port}/", "address"),
    Case("http://public.example:80@127.0.0.1:{port}/", "address"),
    Case("http://user:pass@127.0.0.1:{port}/", "address"),
    Case("http://@127.0.0.1:{port}/", "address"),
    Case("http://public.example%40127.0.0.1:{port}/", "address"),
    Case("http://127.0.0.1:{port}\\@public.example/", "address"),
    Case("http://public.example\\@127.0.0.1:{port}/", "address"),
    Case("http://public.example#@127.0.0.1:{port}/", "address"),
    Case("http://public.example%23@127.0.0.1:{port}/", "address"),
    Case("http://public.example%00.127.0.0.1:{port}/", "address"),
    Case("http://127.0.0.1%00:{port}/", "address"),
    Case("http://127.0.0.1%2f:{port}/", "address"),
    Case("http://127.0.0.1 :{port}/", "address"),
    Case("http://127.0.0.1\t:{port}/", "address"),
    Case("http://127.0.0.1:{port}\r\nHost: public.example/", "address"),
    Case("http://127.0.0.1:{port}/\r\nX-Evil: 1", "address"),
    Case("http://127.0.0.1:0{port}x/", "address"),
    Case("http://127.0.0.1:{port}@public.example/", "address"),
    Case("http://127.0.0.1:-{port}/", "address"),
    Case("http://127.0.0.1:+{port}/", "address"),
    Case("http://127.0.0.1:99999/", "address"),
    Case("http://127.0.0.1:\u0668\u0660/", "address"),
    Case("http://127.0.0.1:{port}:80/", "address"),
    Case("http://:{port}/", "address"),
    Case("http:///127.0.0.1:{port}/", "address"),
    Case("http:////127.0.0.1:{port}/", "address"),
]
"""User names, ports and signs that readers of addresses take apart differently."""

SCHEMES: Final = [
    Case("//127.0.0.1:{port}/", "address"),
    Case("127.0.0.1:{port}/", "address"),
    Case("http:127.0.0.1:{port}/", "address"),
    Case("http:/127.0.0.1:{port}/", "address"),
    Case("http:\\\\127.0.0.1:{port}\\", "address"),
    Case(" http://127.0.0.1:{port}/", "address"),
    Case("\nhttp://127.0.0.1:{port}/", "address"),
    Case("ht\ntp://127.0.0.1:{port}/", "address"),
    Case("file:///etc/passwd", "address"),
    Case("file://127.0.0.1:{port}/etc/passwd", "address"),
    Case("ftp://127.0.0.1:{port}/", "address"),
    Case("gopher://127.0.0.1:{port}/_INFO", "address"),
    Case("dict://127.0.0.1:{port}/info", "address"),
    Case("ldap://127.0.0.1:{port}/", "address"),
    Case("redis://127.0.0.1:{port}/0", "address"),
    Case("ws://127.0.0.1:{port}/", "address"),
    Case("jar:http://127.0.0.1:{port}/x!/", "address"),
    Case("url:http://127.0.0.1:{port}/", "address"),
    Case("data:application/json,{{}}", "address"),
    Case("javascript:fetch('http://127.0.0.1:{port}')", "address"),
    Case("unix:///run/docker.sock", "address"),
    Case("http+unix://%2frun%2fdocker.sock/info", "address"),
    Case("blob:http://127.0.0.1:{port}/", "address"),
    Case("https+insecure://127.0.0.1:{port}/", "address"),
    Case("", "address"),
]
"""Other schemes, and ones that are none."""

CASES: Final = [*IPV4, *IPV6, *DIGITS, *NAMES, *CLOUDS, *PARTS, *SCHEMES]

REDIRECTS: Final = [
    (status, to)
    for status in (300, 301, 302, 303, 307, 308)
    for to in ("http://[::1]:{port}/", "//[::1]:{port}/", f"http://{METADATA}/", "http://six.example:{port}/")
]
"""Where a server that may be asked sends its client next."""
