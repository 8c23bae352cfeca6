"""Names and roles of people of the console, without its pages: a command needs no more."""

from __future__ import annotations

from typing import Final, Literal, get_args

from cds_service.store import Store

Role = Literal["viewer", "editor", "approver", "admin"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._@+-]{1,63}"
NAME_WORDS: Final = (
    "Letters from a to z, digits and . _ @ + - only, two to 64 of them: a work e-mail address, or initials."
)


def clean_name(text: str | None) -> str:
    """Names are told apart without regard to capitals."""
    return (text or "").strip().lower()


def key_of_tries(store: Store, name: str) -> str:
    """Under which key the sign-ins of a name are counted."""
    return store.finding_hash(["sign-in as", name])
