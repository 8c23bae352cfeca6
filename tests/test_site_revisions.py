"""Site values as revisions in the database: published, in force on a running service, taken back, and refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cds_service.advice.needs import all_needs
from cds_service.content.current import CurrentRulebook
from cds_service.content.site_revisions import SiteRevisions
from cds_service.content.yamlfile import ContentError
from cds_service.store import Store
from tests.conformance.calls import Running, invoke, serving, until
from tests.conftest import shipped
from tests.test_site_values import LIMIT, cards, ready, write

Cli = Callable[..., Any]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """`magnesium-cds site ...` on one database."""

    def call(*arguments: str | Path, code: int = 0) -> Any:
        done = invoke("site", *arguments, "--data-dir", tmp_path / "data")
        assert done.returncode == code, done.stderr
        return done

    return call


@pytest.fixture
def limit(tmp_path: Path) -> Callable[[str], Path]:
    """A site file with this lower limit."""
    return lambda value: write(tmp_path / f"{value}.yaml", LIMIT.format(value=value))


def apply(cli: Cli, file: Path, *more: str, author: str = "Anna", code: int = 0) -> Any:
    return cli("apply", file, "--author", author, "--reason", "Our laboratory's own interval", *more, code=code)


def test_a_dry_run_shows_what_would_change_and_writes_nothing(cli: Cli, limit: Callable[[str], Path]) -> None:
    assert (
        apply(cli, limit("0.66"), "--dry-run").stdout
        == "shared.lower_limit: 0.70 mmol/L -> 0.66 mmol/L\nbased on revision 0\n"
    )
    assert cli("history").stdout == ""


def test_whose_settings_leave_the_values_to_a_file_is_told_so(
    cli: Cli, limit: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "managed_by" in apply(cli, limit("0.66")).stderr
    monkeypatch.setenv("MAGNESIUM_CDS_MANAGED_BY", "console")
    assert "managed_by" not in apply(cli, limit("0.62")).stderr


def test_history_tells_who_set_what_when_and_why(cli: Cli, limit: Callable[[str], Path]) -> None:
    apply(cli, limit("0.66"))
    apply(cli, limit("0.62"), author="Ben")
    newest, first = (json.loads(line) for line in cli("history", "--json").stdout.splitlines())
    assert [(item["number"], item["author"], item["state"]) for item in (newest, first)] == [
        (2, "Ben", "in force"),
        (1, "Anna", "past"),
    ]
    assert newest["changes"] == [{"key": "shared.lower_limit", "old": "0.66 mmol/L", "new": "0.62 mmol/L"}]
    assert newest["reason"] == "Our laboratory's own interval"


def test_an_exported_revision_can_be_applied_again(cli: Cli, limit: Callable[[str], Path], tmp_path: Path) -> None:
    apply(cli, limit("0.66"))
    exported = write(tmp_path / "exported.yaml", cli("export").stdout)
    assert exported.read_text() == limit("0.66").read_text()
    assert apply(cli, exported).stdout.startswith("no difference\nrevision 2")


def test_a_rollback_is_a_new_revision_with_the_old_values(cli: Cli, limit: Callable[[str], Path]) -> None:
    apply(cli, limit("0.66"))
    apply(cli, limit("0.62"))
    done = cli("rollback", "1", "--based-on", "2", "--author", "Ben", "--reason", "Too many cards").stdout
    assert "shared.lower_limit: 0.62 mmol/L -> 0.66 mmol/L\nrevision 3 is in force" in done
    assert "0.66" in cli("export").stdout
    assert cli("diff", "1", "3").stdout == "no difference\n"
    assert "0.70 mmol/L -> 0.62 mmol/L" in cli("diff", "0", "2", code=1).stdout


def test_a_rollback_takes_back_no_revision_that_its_caller_never_saw(cli: Cli, limit: Callable[[str], Path]) -> None:
    why = ("--author", "Ben", "--reason", "Too many cards")
    for value in ("0.66", "0.62"):
        apply(cli, limit(value))
    seen = cli("rollback", "1", *why, "--dry-run").stdout
    assert seen == "shared.lower_limit: 0.62 mmol/L -> 0.66 mmol/L\nbased on revision 2\n"
    apply(cli, limit("0.64"))
    refused = cli("rollback", "1", *why, "--based-on", "2", code=1).stderr
    assert "revision 3 was published since 2" in refused
    assert "shared.lower_limit: 0.62 mmol/L -> 0.64 mmol/L" in refused
    assert "--dry-run shows it" in cli("rollback", "1", *why, code=2).stderr
    assert "0.64" in cli("export").stdout
    assert "revision 4 is in force" in cli("rollback", "1", *why, "--based-on", "3").stdout


def test_two_editors_the_second_is_shown_what_the_first_changed(cli: Cli, limit: Callable[[str], Path]) -> None:
    apply(cli, limit("0.66"))
    apply(cli, limit("0.64"))
    refused = apply(cli, limit("0.62"), "--based-on", "1", code=1)
    assert "revision 2 was published since 1" in refused.stderr
    assert "shared.lower_limit: 0.66 mmol/L -> 0.64 mmol/L" in refused.stderr
    assert "0.64" in cli("export").stdout


def test_values_out_of_range_are_never_published(cli: Cli, limit: Callable[[str], Path]) -> None:
    assert "0.60 to 0.85" in apply(cli, limit("0.20"), code=78).stderr
    assert cli("history").stdout == ""


def test_one_for_tomorrow_waits_and_can_be_withdrawn(cli: Cli, limit: Callable[[str], Path]) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M%z")
    apply(cli, limit("0.66"))
    assert "revision 2 comes into force at" in apply(cli, limit("0.62"), "--from", tomorrow).stdout
    assert "0.66" in cli("export").stdout
    assert "withdraw it first" in apply(cli, limit("0.64"), code=1).stderr
    cli("withdraw", "2", "--author", "Ben")
    assert "shared.lower_limit: 0.66 mmol/L -> 0.64 mmol/L" in apply(cli, limit("0.64")).stdout
    assert "does not wait" in cli("withdraw", "3", "--author", "Ben", code=1).stderr


@pytest.mark.parametrize(("approved", "code"), [((), 2), (("Anna",), 2), (("Ben",), 0)], ids=["nobody", "self", "Ben"])
def test_where_a_second_person_is_asked_for_nobody_publishes_alone(
    approved: tuple[str, ...], code: int, limit: Callable[[str], Path], tmp_path: Path
) -> None:
    settings = write(tmp_path / "settings.toml", f'second_person = true\ndata_dir = "{tmp_path / "data"}"\n')
    more = ["--approved-by", *approved] if approved else []
    asked = ["site", "apply", limit("0.66"), "--author", "Anna", "--reason", "Interval", *more]
    found = invoke(*asked, "--settings", settings)
    assert found.returncode == code
    assert ("approve" in found.stderr) is (code == 2)


def test_a_site_file_beside_revisions_is_refused(tmp_path: Path, limit: Callable[[str], Path]) -> None:
    settings = write(tmp_path / "settings.toml", f'managed_by = "console"\nsite = "{limit("0.66")}"\n')
    refused = invoke("serve", "--settings", settings)
    assert refused.returncode == 78
    assert "site apply FILE" in refused.stderr


def test_a_database_that_does_not_answer_is_not_taken_for_a_site_without_values(
    cli: Cli, limit: Callable[[str], Path], tmp_path: Path
) -> None:
    apply(cli, limit("0.66"))
    library, keys = shipped().library, frozenset(all_needs(shipped().library))
    store = Store.open(data_dir=tmp_path / "data")
    source = SiteRevisions(store, lambda: datetime.now(UTC))
    assert CurrentRulebook(library, source, keys).site.document.site == "Test hospital"
    assert source.changed() is None
    store.close()
    with pytest.raises(ContentError, match="cannot be read"):
        CurrentRulebook(library, SiteRevisions(store, lambda: datetime.now(UTC)), keys)
    with pytest.raises(ContentError, match="cannot be read"):
        source.changed()
    with Store.open(data_dir=tmp_path / "data") as store:
        source._store = store
        again = source.changed()
        assert again is not None and "0.66" in again.text, "so that the fault is over"


# A service that runs.


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    settings = write(tmp_path / "settings.toml", 'managed_by = "console"\n')
    with serving(tmp_path, "--settings", settings, "--workers", "3") as running:
        yield running


def limits_told(service: Running) -> set[str]:
    """What cards of many calls say of the limit: several workers answer."""
    found = {card["summary"].partition("limit ")[2] for _ in range(12) for card in cards(service)}
    return {text for text in found if text}


def test_a_revision_is_in_force_on_every_worker_within_five_seconds(
    service: Running, cli: Cli, limit: Callable[[str], Path]
) -> None:
    assert limits_told(service) == {"0.70 mmol/L"}
    for value in ("0.66", "0.68"):
        apply(cli, limit(value))
        until(lambda value=value: limits_told(service) == {f"{value} mmol/L"}, 5)  # type: ignore[misc]
    cli("rollback", "1", "--based-on", "2", "--author", "Ben", "--reason", "Too many cards")
    until(lambda: limits_told(service) == {"0.66 mmol/L"}, 5)
    assert ready(service)["status"] == "ready"


def test_a_draft_that_is_approved_by_another_person_is_in_force_on_every_worker_within_five_seconds(
    service: Running, cli: Cli, limit: Callable[[str], Path]
) -> None:
    cli("draft", "new", limit("0.66"), "--title", "A lower limit", "--by", "Anna", "--reason", "Own interval")
    cli("draft", "approve", "1", "--version", "1", "--by", "Ben")
    assert limits_told(service) == {"0.70 mmol/L"}
    cli("draft", "publish", "1", "--version", "1", "--by", "Ben")
    until(lambda: limits_told(service) == {"0.66 mmol/L"}, 5)
