"""First on the path of a gateway that `records.py` starts to compare with: its workers keep no audit log.

Not a setting: a gateway that serves people has no way to run without its log.
"""

import sys
from typing import Any

if sys.orig_argv[1:3] == ["-m", "gateway.worker"]:
    from gateway import services

    def no_writer(*_: Any, **__: Any) -> None:
        """Take the place of `open_writer`."""

    async def not_closed(_: None) -> None:
        """Take the place of `closed`."""

    setattr(services, "open_writer", no_writer)  # noqa: B010 - of another type on purpose
    setattr(services, "closed", not_closed)  # noqa: B010
