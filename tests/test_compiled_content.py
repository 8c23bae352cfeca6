"""The compiled content: the same answers, and never that of other files, of other code, or of another account."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from cds_service import create_app
from cds_service.advice import compiled, loaded_content
from cds_service.advice.compiled import compiled_file
from cds_service.advice.loaded_content import Content, load_content
from cds_service.content.base import Strict, checker
from cds_service.content.library import default_root
from cds_service.content.yamlfile import ContentError
from cds_service.settings import Settings
from tests.conformance.calls import every_sample_call, post
from tests.conftest import KEY, NOW
from tests.test_golden import normalised

LOAD = """
import sys
from pathlib import Path
from cds_service.advice import loaded_content
loaded_content.default_root = lambda: Path(sys.argv[1])
sys.dont_write_bytecode = False
print(loaded_content.load_content().library.digest)
"""


def test_what_checks_content_is_whole_when_it_is_handed_out() -> None:
    """Else two threads could build it at the same time, and one of them meet half of it."""

    class Late(Strict):
        value: int

    assert checker(Late).pydantic_complete
    assert checker(Late) is checker(Late)


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the content, which is what ships, in a place where compiled code is written."""
    folder = tmp_path / "cards"
    shutil.copytree(default_root(), folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(loaded_content, "default_root", lambda: folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    return folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path | None]:
    """The folders of which the files were read and checked, one entry each time."""
    found: list[Path | None] = []
    read = loaded_content._read

    def noted(root: Path | None, cards: tuple[Path, ...] = ()) -> Content:
        found.append(root)
        return read(root, cards)

    monkeypatch.setattr(loaded_content, "_read", noted)
    return found


def untimed(answer: Any) -> str:
    """As text, without the second at which the address of a plan was signed, and the signature over it. A long one
    is packed, and begins with a dot."""
    return re.sub(r"(/plan/\.?[\w-]+)\.[\w-]+\.[\w-]+", r"\1", json.dumps(answer, sort_keys=True))


def test_every_answer_is_the_same_from_files_and_from_the_compiled_form(
    cards: Path, tmp_path: Path, reads: list[Path | None]
) -> None:
    written, again = load_content(), load_content()
    assert reads == [cards]
    apps = [
        create_app(Settings(data_dir=tmp_path / name, key=KEY), now=lambda: NOW, content=content)
        for name, content in (("written", written), ("again", again))
    ]
    clients, fired = [app.test_client() for app in apps], 0
    for name, body in every_sample_call(clients[0]):
        one, other = (normalised(post(client, body).json) for client in clients)
        assert untimed(one) == untimed(other), name
        fired += len(one["cards"])
    assert fired > 20
    for app in apps:
        app.extensions["advisor"].store.close()


def test_a_changed_file_is_seen_by_the_next_start(cards: Path, reads: list[Path | None]) -> None:
    before = load_content().library
    file = cards / "terminology" / "levothyroxine.yaml"
    file = file if file.exists() else cards / "terminology" / "drugs.yaml"
    text = file.read_text("utf-8")
    assert before.terminology["levothyroxine"].title in text
    file.write_text(text.replace(before.terminology["levothyroxine"].title, "Thyroid hormone T4", 1), "utf-8")
    after = load_content().library
    assert after.terminology["levothyroxine"].title == "Thyroid hormone T4"
    assert after.digest != before.digest
    assert load_content().library.digest == after.digest
    assert reads == [cards, cards]


def test_a_fault_in_a_file_is_told_although_there_is_a_compiled_form(cards: Path) -> None:
    load_content()
    (cards / "evidence.yaml").unlink()
    with pytest.raises(ContentError, match=r"evidence\.yaml"):
        load_content()


def flipped(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (flipped, "the compiled content is damaged"),
        (lambda file: file.write_bytes(b""), None),
        (lambda file: file.chmod(0o664), "other accounts can write the compiled content"),
    ],
)
def test_a_spoilt_file_is_not_used_and_made_anew(
    cards: Path, reads: list[Path | None], spoil: Callable[[Path], object], said: str | None
) -> None:
    digest = load_content().library.digest
    spoil(compiled_file(cards))
    with capture_logs() as lines:
        assert load_content().library.digest == digest
    assert [line["remark"] for line in lines] == ([said] if said else [])
    assert reads == [cards, cards]
    load_content()
    assert reads == [cards, cards]


def test_a_file_of_another_account_is_not_used(
    cards: Path, reads: list[Path | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    load_content()
    real = compiled.os.fstat

    def of_somebody(descriptor: int) -> object:
        found = list(real(descriptor))
        found[4] = 4711
        return compiled.os.stat_result(found)

    monkeypatch.setattr("cds_service.advice.compiled.os.fstat", of_somebody)
    with capture_logs() as lines:
        load_content()
    assert [line["remark"] for line in lines] == ["other accounts can write the compiled content"]
    assert reads == [cards, cards]


def test_a_file_of_another_version_is_not_used(
    cards: Path, reads: list[Path | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    load_content()
    real = compiled.version
    monkeypatch.setattr(compiled, "version", lambda name: "0.0.1" if name == "pydantic-core" else real(name))
    load_content()
    assert reads == [cards, cards]


def test_a_file_of_other_code_is_not_used(tmp_path: Path, cards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = compiled.key_of(cards)
    shutil.copytree(Path(compiled.__file__).parent.parent, tmp_path / "code")
    monkeypatch.setattr(compiled, "__file__", str(tmp_path / "code" / "advice" / "compiled.py"))
    assert compiled.key_of(cards) == before
    with (tmp_path / "code" / "patient.py").open("a") as file:
        file.write("# another line\n")
    assert compiled.key_of(cards) != before


def test_where_nothing_can_be_written_a_start_reads_the_files(cards: Path, reads: list[Path | None]) -> None:
    (cards / "__pycache__").write_text("no folder")
    assert load_content().library.rules
    assert load_content().library.rules
    assert reads == [cards, cards]


def test_where_python_writes_no_compiled_code_we_write_none(cards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    load_content()
    assert not compiled_file(cards).exists()


def test_starts_at_once_do_not_disturb_each_other(cards: Path, reads: list[Path | None]) -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", LOAD, str(cards)], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    digests = [process.communicate(timeout=120)[0].strip() for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert digests == [load_content().library.digest] * 3
    assert reads == []
    assert [path.name for path in (cards / "__pycache__").iterdir()] == [compiled_file(cards).name]
