"""Why a content cannot be given out of the library now. The uploader turns these into refusals.

No text holds a path of this machine: they travel to strangers.
"""


class ContentError(Exception):
    """The base; never raised itself."""


class ContentUnknown(ContentError):
    """We share no file with this content."""


class ContentChanged(ContentError):
    """The file no longer has this content, or is gone; it is withdrawn and hashed again."""


class ContentUnreadable(ContentError):
    """The disk does not give the file now. It stays listed: the trouble may pass."""


class PiecesMissing(ContentError):
    """It is being downloaded, and what is asked for has not all been verified yet."""
