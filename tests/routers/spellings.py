"""Ways to write a path, as data: a row id, what it is, the target of the request line, headers.

The fields of a target, for the path ``/admin/users``: ``p`` it, percent-encoded as usual; ``dir`` ``/admin``;
``leaf`` ``users``; and the rewritings of ``fields_of``.
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple
from urllib.parse import quote


class Spelling(NamedTuple):
    row: str
    what: str
    target: str = "{p}"
    headers: tuple[tuple[str, str], ...] = ()


def _fully(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


def _wide(text: str) -> str:
    """Return full-width letters, which NFKC folds to ASCII."""
    return quote(
        "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" and char != "/" else char for char in text)
    )


def fields_of(path: str) -> dict[str, str]:
    folder, _, leaf = path.rpartition("/")
    first, others = leaf[:1], leaf[1:]
    inner = path[1:].split("/")
    return {
        "p": quote(path),
        "dir": quote(folder),
        "leaf": quote(leaf),
        "upper": quote(path.upper()),
        "title": quote(path.title()),
        "encoded": "/" + "/".join(map(_fully, inner)),
        "encoded_first": quote(folder) + "/" + _fully(first) + quote(others),
        "encoded_upper_hex": "/" + "/".join(_fully(part).upper() for part in inner),
        "encoded_twice": "/" + "/".join(_fully(part).replace("%", "%25") for part in inner),
        "encoded_slash": "/" + "%2f".join(map(quote, inner)),
        "encoded_slash_twice": "/" + "%252f".join(map(quote, inner)),
        "encoded_backslash": "/" + "%5c".join(map(quote, inner)),
        "backslash": "/" + "\\".join(map(quote, inner)),
        "double": quote(path.replace("/", "//")),
        "dotted": quote(path.replace("/", "/./")),
        "wide": _wide(path),
        "overlong": quote(folder)
        + "/"
        + (f"%c1%{0x80 | ord(first) & 0x3F:02x}" if first else "%c0%af")
        + quote(others),
        "decomposed": quote(unicodedata.normalize("NFD", path)),
        "combining": quote(folder) + "/" + quote(first + "\u0301") + quote(others),
        "latin1": quote(path.encode("latin-1")),
        "raw": path,
    }


SPELLINGS = (
    # Dot segments
    Spelling("S01", "as it is", "{p}"),
    Spelling("S02", "dot before", "/.{p}"),
    Spelling("S03", "dot inside", "{dir}/./{leaf}"),
    Spelling("S04", "dot behind", "{p}/."),
    Spelling("S05", "dots everywhere", "{dotted}"),
    Spelling("S06", "out of the public folder", "/public/..{p}"),
    Spelling("S07", "out of a folder that is none", "/none/..{p}"),
    Spelling("S08", "above the root", "/..{p}"),
    Spelling("S09", "down and up", "{p}/x/.."),
    Spelling("S10", "up at the end", "{p}/.."),
    Spelling("S11", "encoded dots", "/public/%2e%2e{p}"),
    Spelling("S12", "half encoded dots", "/public/.%2E{p}"),
    Spelling("S13", "encoded dot", "/%2e{p}"),
    Spelling("S14", "twice encoded dots", "/public/%252e%252e{p}"),
    Spelling("S15", "dots with encoded slash", "/public/..%2f{leaf}"),
    Spelling("S16", "three dots", "/public/...{p}"),
    Spelling("S17", "dots and a parameter", "/public/..;{p}"),
    Spelling("S18", "overlong dots", "/public/%c0%ae%c0%ae{p}"),
    Spelling("S19", "full-width dots", "/public/%ef%bc%8e%ef%bc%8e{p}"),
    # Slashes
    Spelling("S20", "double slash before", "/{p}"),
    Spelling("S21", "double slashes", "{double}"),
    Spelling("S22", "three slashes", "//{p}"),
    Spelling("S23", "trailing slash", "{p}/"),
    Spelling("S24", "two trailing slashes", "{p}//"),
    Spelling("S25", "encoded slashes", "{encoded_slash}"),
    Spelling("S26", "slashes encoded twice", "{encoded_slash_twice}"),
    Spelling("S27", "encoded slash before", "/%2f{leaf}"),
    Spelling("S28", "encoded trailing slash", "{p}%2f"),
    Spelling("S29", "encoded trailing slash, upper case", "{p}%2F"),
    Spelling("S30", "only encoded slashes", "%2f{leaf}"),
    Spelling("S31", "encoded backslashes", "{encoded_backslash}"),
    Spelling("S32", "backslashes", "{backslash}"),
    Spelling("S33", "backslash before", "\\{leaf}"),
    Spelling("S34", "trailing backslash", "{p}\\"),
    Spelling("S35", "slash and backslash", "/\\{leaf}"),
    Spelling("S36", "overlong slash", "{dir}%c0%af{leaf}"),
    Spelling("S37", "overlong slash of three bytes", "{dir}%e0%80%af{leaf}"),
    Spelling("S38", "division slash", "{dir}/%e2%88%95{leaf}"),
    Spelling("S39", "full-width slash", "{dir}%ef%bc%8f{leaf}"),
    Spelling("S40", "no slash before", "{leaf}"),
    # Encodings
    Spelling("S41", "every letter encoded", "{encoded}"),
    Spelling("S42", "one letter encoded", "{encoded_first}"),
    Spelling("S43", "encoded in upper case", "{encoded_upper_hex}"),
    Spelling("S44", "encoded twice", "{encoded_twice}"),
    Spelling("S45", "overlong letter", "{overlong}"),
    Spelling("S46", "bytes of latin-1", "{latin1}"),
    Spelling("S47", "bytes that are no UTF-8", "{p}%ff"),
    Spelling("S48", "a surrogate", "{p}%ed%a0%80"),
    Spelling("S49", "half an escape", "{p}%"),
    Spelling("S50", "an escape that is none", "{p}%zz"),
    Spelling("S51", "%u escapes", "/%u0061{leaf}"),
    Spelling("S52", "a byte order mark", "/%ef%bb%bf{leaf}"),
    # Control characters and white space
    Spelling("S53", "NUL behind", "{p}%00"),
    Spelling("S54", "NUL and a public name", "{p}%00/public/x"),
    Spelling("S55", "NUL before", "/%00{leaf}"),
    Spelling("S56", "line feed behind", "{p}%0a"),
    Spelling("S57", "line feed before", "/%0a{leaf}"),
    Spelling("S58", "carriage return", "{p}%0d%0a"),
    Spelling("S59", "tab behind", "{p}%09"),
    Spelling("S60", "tab before", "/%09{leaf}"),
    Spelling("S61", "space behind", "{p}%20"),
    Spelling("S62", "space before", "/%20{leaf}"),
    Spelling("S63", "plus for a space", "{p}+"),
    Spelling("S64", "next line", "{p}%c2%85"),
    Spelling("S65", "line separator", "{p}%e2%80%a8"),
    Spelling("S66", "no-break space", "{p}%c2%a0"),
    Spelling("S67", "zero-width space", "{p}%e2%80%8b"),
    Spelling("S68", "right-to-left override", "/%e2%80%ae{leaf}"),
    Spelling("S69", "delete", "{p}%7f"),
    # Parameters of segments, trailing dots, suffixes
    Spelling("S70", "a parameter", "{p};v=1"),
    Spelling("S71", "an encoded semicolon", "{p}%3bv=1"),
    Spelling("S72", "a parameter inside", "{dir};x=1/{leaf}"),
    Spelling("S73", "a session id", "{p};jsessionid=1"),
    Spelling("S74", "a trailing dot", "{p}."),
    Spelling("S75", "a suffix", "{p}.json"),
    Spelling("S76", "an alternate stream", "{p}::$DATA"),
    Spelling("S77", "a short name", "{p}~1"),
    Spelling("S78", "a comma", "{p},x"),
    # Letters
    Spelling("S79", "upper case", "{upper}"),
    Spelling("S80", "title case", "{title}"),
    Spelling("S81", "full-width letters", "{wide}"),
    Spelling("S82", "decomposed letters", "{decomposed}"),
    Spelling("S83", "a combining accent", "{combining}"),
    Spelling("S84", "letters as they are", "{raw}"),
    # Forms of the target
    Spelling("S85", "nothing", ""),
    Spelling("S86", "an asterisk", "*"),
    Spelling("S87", "absolute", "http://testserver{p}"),
    Spelling("S88", "absolute, another host", "http://other.example{p}"),
    Spelling("S89", "absolute, a public host", "http://x/public/x?{p}"),
    Spelling("S90", "absolute, upper case", "HTTP://OTHER.EXAMPLE{p}"),
    Spelling("S91", "absolute with a user", "http://public@other.example{p}"),
    Spelling("S92", "an authority", "//other.example{p}"),
    Spelling("S93", "a host and a port", "other.example:443"),
    Spelling("S94", "a query with a public name", "{p}?/public/x"),
    Spelling("S95", "an encoded query", "{p}%3f/public/x"),
    Spelling("S96", "a fragment", "{p}#/public/x"),
    Spelling("S97", "an encoded fragment", "{p}%23/public/x"),
    Spelling("S98", "a query and dots", "{p}?/../public/x"),
    Spelling("S99", "a public query first", "/public/x?{p}"),
    Spelling("S100", "an empty query", "{p}?"),
    Spelling("S101", "very long", "{p}/" + "a" * 8000),
    Spelling("S102", "very deep", "{p}" + "/a" * 2000),
    Spelling("S103", "many dots", "/public" + "/.." * 500 + "{p}"),
    Spelling("S104", "a long query", "{p}?" + "a=/public/x&" * 700),
    # What is named like a public path, and what ends like one
    Spelling("S105", "below a public path", "/health{p}"),
    Spelling("S106", "above a public name", "{p}/health"),
    Spelling("S107", "above a public folder", "{p}/public/x"),
    Spelling("S108", "a public prefix", "/healthx"),
    Spelling("S109", "a mount", "/app{p}"),
    Spelling("S110", "a mount twice", "/app/app{p}"),
    Spelling("S111", "like a mount", "/apple{p}"),
    Spelling("S112", "a mount's dots", "/app/..{p}"),
    # Headers
    Spelling("X01", "BadHost", "{p}", (("Host", "x/public?"),)),
    Spelling("X02", "BadHost with a fragment", "{p}", (("Host", "x/health#"),)),
    Spelling("X03", "X-Forwarded-Uri", "{p}", (("X-Forwarded-Uri", "/public/x"),)),
    Spelling("X04", "X-Original-URL", "{p}", (("X-Original-URL", "/public/x"),)),
    Spelling("X05", "X-Rewrite-URL", "{p}", (("X-Rewrite-URL", "/public/x"),)),
    Spelling("X06", "a public path with a guarded X-Original-URL", "/public/x", (("X-Original-URL", "{p}"),)),
    Spelling("X07", "X-Forwarded-Prefix", "{p}", (("X-Forwarded-Prefix", "/public"),)),
    Spelling("X08", "X-Script-Name", "{p}", (("X-Script-Name", "/public"), ("Script-Name", "/public"))),
    Spelling("X09", "a health probe", "{p}", (("User-Agent", "kube-probe/1.31"),)),
    Spelling(
        "H10", "a health probe of a cloud", "{p}", (("User-Agent", "GoogleHC/1.0"), ("X-Health-Check", "1"))
    ),
    Spelling("X11", "from here", "{p}", (("X-Forwarded-For", "127.0.0.1"), ("X-Real-IP", "127.0.0.1"))),
    Spelling("X12", "an identity", "{p}", (("X-Forwarded-User", "admin"), ("Remote-User", "admin"))),
    Spelling("X13", "X-HTTP-Method-Override", "{p}", (("X-HTTP-Method-Override", "DELETE"),)),
    Spelling("X14", "Connection strips a header", "{p}", (("Connection", "Authorization"),)),
    Spelling("X15", "an upgrade", "{p}", (("Connection", "Upgrade"), ("Upgrade", "websocket"))),
    Spelling("X16", "an internal call", "{p}", (("X-Internal", "true"), ("X-Middleware-Subrequest", "1"))),
)


def spell(spelling: Spelling, path: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the target and the headers of a spelling of this path."""
    fields = fields_of(path)
    target = spelling.target.format_map(fields)
    return target, tuple((name, value.format_map(fields)) for name, value in spelling.headers)
