"""Texts without the keys, secrets and passwords that a URI in them may carry:
for messages, logs and reports.
"""

from __future__ import annotations

import re

USER_INFO = re.compile(
    r"//[^/@:?#\s]*:[^@\s]*@(?:[^/@\s]*@)*|//[^/@:?#\s]+@"
)  # a secret may hold slashes and at signs
PARAMETER = re.compile(
    r"(?P<name>[?&;][\w.%-]*(?:key|secret|token|passw|pwd|credential|signature|auth|sig|sas)[\w.%-]*=)[^&;\s'\"]*",
    re.I,
)
HIDDEN = "***"


def shown(text: str) -> str:
    """A URI, path or message without credentials: none before the host,
    stars for those among the parameters.
    """
    return PARAMETER.sub(rf"\g<name>{HIDDEN}", USER_INFO.sub("//", text))
