"""The service with some of its checks taken out: `python -m tests.benchmarks.ways WAY PORT FOLDER`.

    bare        no token is looked at; depth and doubled members of the body are not looked for
    input       as bare, with these checks of the body
    signature   as input, and every token checked, but none remembered
    all         and remembered, so that none is taken twice: what a production service does

Size, media type and envelope are checked in every way: a call cannot be answered without them.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

from cds_service.advice.loaded_content import load_content
from cds_service.serving import serve
from cds_service.settings import Settings
from cds_service.store import Store
from cds_service.trust.clients import FILE_NAME, load_clients

WAYS = ("bare", "input", "signature", "all")
UNLIMITED = 1e6  # calls a second: the limits are asked, and never reached


def run(way: str, port: int, folder: Path) -> None:
    """Serve until stopped. The clients' file in `folder` is known to the ways that look at tokens."""
    with ExitStack() as stack:
        if way == "bare":
            stack.enter_context(patch("cds_service.hooks.errors.check", lambda *_: None))
        if way == "signature":
            stack.enter_context(patch.object(Store, "use_token", lambda *_: True))
        settings = Settings(
            watch=False,
            port=port,
            workers=1,
            data_dir=folder / way,
            clients=folder / FILE_NAME if way in ("signature", "all") else None,
            client_rate=UNLIMITED,
            address_rate=UNLIMITED,
        )
        serve(settings, load_content(), load_clients(settings))


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
