"""Which texts the contract allows."""

from tools.vectors.base import PEER_ID, Case

LAWFUL_PATHS = [
    "a", "photos/2024/a.jpg", "aux.c", "CON.txt", "a:b", "README", "readme", "-rf", "...",
    "trailing dot.", "trailing space ", " leading space", ".hidden", "~root", "$(reboot)",
    "100% `quoted` \"name\" 'x'; --", "*?[]<>|", "日本語/ファイル.txt", "é.txt", "ﬁ", "Ω",
    "می\u200cخواهم.txt", "👩\u200d👧.png", "no\u00a0break space", "x" * 255, "é" * 127,
    "/".join("x" * 64), "/".join(["x" * 203] * 5) + "/abcd",
]  # fmt: skip
UNLAWFUL_PATHS = [
    "", ".", "..", "../x", "../../x", "a/../b", "a/..", "a/./b", "/", "/etc/passwd", "//x", "a//b",
    "a/", "C:\\x", "..\\x", "\\\\server\\share", "nul\0byte", "new\nline", "carriage\rreturn",
    "tab\tulator", "escape\x1b[2Jsequence", "c1\x9bcontrol", "delete\x7f", "rtl\u202eoverride",
    "isolate\u2066d", "arabic mark\u061c", "zero\u200bwidth", "left\u200emark", "word\u2060joiner",
    "bom\ufeff", "soft\u00adhyphen", "line\u2028separator", "paragraph\u2029separator",
    "private\ue000use", "un\u0378assigned", "non\uffffcharacter", "tag\U000e0041", "NFD e\u0301",
    "ohm \u2126", "x" * 256, "é" * 128, "/".join(["x" * 203] * 5) + "/abcde", "x" * 5_000,
    "/".join("x" * 65),
]  # fmt: skip
USERS = {
    True: ["a", "0", "ann", "Ann.B-c_d", "a" * 64],
    False: ["", "a" * 65, ".a", "-a", "_a", "a b", "a/b", "a:b", "é", "a\n", "a\0", "a\u202eb"],
}
PEER_IDS = {
    True: ["a" * 16, "-" * 16, "_" * 64, PEER_ID],
    False: ["", "a" * 15, "a" * 65, "a" * 15 + ".", "a" * 15 + "é", "a" * 16 + "\n", "a " * 8],
}
HOSTS = {
    True: ["127.0.0.1", "192.168.1.2", "8.8.8.8", "::1", "2001:db8::1", "fd00::1"],
    False: [
        "", "localhost", "example.com", "127.0.0.1:80", "[::1]", "fe80::1%eth0", "1.2.3", "127.1",
        "1.2.3.256", "0x7f.0.0.1", "0.0.0.0", "::", "169.254.169.254", "fe80::1", "224.0.0.1",
        "ff02::1", "255.255.255.255",
    ],
}  # fmt: skip


def verdicts(rule: dict[bool, list[str]]) -> list[Case]:
    return [{"text": text, "lawful": lawful} for lawful, texts in rule.items() for text in texts]


def names() -> Case:
    return {
        "about": "Which texts the contract allows. `hosts`: whether a downloader may dial it.",
        "paths": verdicts({True: LAWFUL_PATHS, False: UNLAWFUL_PATHS}),
        "users": verdicts(USERS),
        "peer_ids": verdicts(PEER_IDS),
        "hosts": verdicts(HOSTS),
    }
