"""What a query finds: by a glob, and by all criteria together."""

from tools.vectors.base import Case

GLOBS = [
    ("*", "a.txt", True), ("*", "x/y/a.txt", True), ("*.txt", "x/a.TXT", True),
    ("*.txt", "x.txt/a", False), ("a?c", "x/abc", True), ("a?c", "ac", False),
    ("a?c", "a/c", False), ("x/*", "x/a", True), ("x/*", "x/y/a", False), ("x/**", "x/y/a", True),
    ("x/**", "x", False), ("**/a", "x/y/a", True), ("**/a", "a", False), ("**/*", "a", False),
    ("x/**/a", "x/y/z/a", True), ("x/**/a", "x/a", False), ("x**/a", "xy/z/a", True),
    ("*/a", "x/a", True), ("*/a", "x/y/a", False), ("x/?/a", "x/y/a", True), ("A.B", "a.b", True),
    ("a.b", "axb", False), ("[ab]", "a", False), ("[ab]", "[ab]", True), ("a", "x/a", True),
    ("a", "a/x", False), ("/a", "a", False), ("É*", "x/éclair", True),
    ("*ß", "STRASSE/gross", True),
    ("b**", "a/bcd", True), ("**", "a/b/c", True), ("a*b*c", "x/aXbYc", True),
    ("a*b*c", "x/aXcYb", False),
]  # fmt: skip


def globs() -> Case:
    return {
        "about": "Whether QueryRequest.glob finds the path; judged by the directory, without case.",
        "cases": [{"glob": g, "path": p, "matches": m} for g, p, m in GLOBS],
    }


RESOURCE = {
    "path": "Photos/2024/Sunset \u00c9toile.jpg",
    "size_bytes": 1_000,
    "digest": "0123456789abcdef" * 4,
    "media_type": "image/jpeg",
}
OWNER = "Ann"
QUERIES: list[tuple[str, Case, bool | None]] = [
    ("nothing asked", {}, True),
    ("a word", {"text": "sunset"}, True),
    ("words in any order, across parts", {"text": " jpg   photos\t2024 "}, True),
    ("within a word, without case", {"text": "UNSE \u00e9TOI"}, True),
    ("one word of two is not there", {"text": "sunset bob"}, False),
    ("every character as itself", {"text": "sun*"}, False),
    ("letters in another normal form", {"text": "E\u0301toile"}, True),
    ("words are not found in the owner", {"text": "ann"}, False),
    ("a glob", {"glob": "*.JPG"}, True),
    ("the exact path", {"path": RESOURCE["path"]}, True),
    ("the exact path is with case", {"path": str(RESOURCE["path"]).lower()}, False),
    ("the last part", {"name": "Sunset \u00c9toile.jpg"}, True),
    ("another part", {"name": "2024"}, False),
    ("the owner, without case", {"owner": "aNN"}, True),
    ("another owner", {"owner": "anna"}, False),
    ("the digest", {"digest_prefix": RESOURCE["digest"]}, True),
    ("its beginning", {"digest_prefix": "01234567"}, True),
    ("not its beginning", {"digest_prefix": "12345678"}, False),
    ("too little of it", {"digest_prefix": "0123456"}, None),
    ("in upper case", {"digest_prefix": "0123456789ABCDEF"}, None),
    ("at least its size", {"min_size_bytes": 1_000}, True),
    ("at least more", {"min_size_bytes": 1_001}, False),
    ("at most its size", {"max_size_bytes": 1_000}, True),
    ("at most 0 is a wish, too", {"max_size_bytes": 0}, False),
    ("a negative size", {"min_size_bytes": -1}, None),
    ("the media type", {"media_type": "image/jpeg"}, True),
    ("without case", {"media_type": "IMAGE/jpeg"}, True),
    ("all of a kind", {"media_type": "image/*"}, True),
    ("a kind alone", {"media_type": "image"}, True),
    ("another kind", {"media_type": "text"}, False),
    ("all criteria must hold", {"text": "sunset", "owner": "ann", "max_size_bytes": 5}, False),
    ("and do", {"text": "sunset", "owner": "ann", "glob": "Photos/**"}, True),
    ("17 wildcards", {"glob": "*a" * 17}, None),
    ("a text over 512 bytes", {"text": "x" * 513}, None),
]


def queries() -> Case:
    return {
        "about": "Whether a Query with these fields (protobuf JSON) finds `resource`, shared by "
        "`owner`; null: FIELD_INVALID. For who writes a directory, or searches what Watch"
        " told.",
        "resource": RESOURCE,
        "owner": OWNER,
        "cases": [
            {"name": name, "query": query, "matches": matches} for name, query, matches in QUERIES
        ],
    }
