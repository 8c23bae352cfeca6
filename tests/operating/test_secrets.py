"""Secrets in files, as orchestrators mount them, and the certificate that is made where there is none."""

from __future__ import annotations

import datetime
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from cds_service.settings import SettingsError, load_settings
from tests.operating.replicas import make_certificate

URL = "postgresql://magnesium@db/magnesium"


def loaded(**values: object) -> str | None:
    return load_settings({}, None, {f"MAGNESIUM_CDS_{name.upper()}": str(v) for name, v in values.items()}).database


def refused(**values: object) -> str:
    with pytest.raises(SettingsError) as told:
        loaded(**values)
    return str(told.value)


def test_password_of_the_database_is_read_from_a_file_and_put_into_its_url(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("s/e:c@r t\n")
    assert loaded(database=URL, database_password_file=file) == "postgresql://magnesium:s%2Fe%3Ac%40r%20t@db/magnesium"
    socket = "postgresql://mg@/x?host=/run/postgresql"
    assert loaded(database=socket, database_password_file=file) == socket.replace("@", ":s%2Fe%3Ac%40r%20t@", 1)


def test_url_of_the_database_is_read_from_a_file_of_one_line(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(URL + "\n")
    assert loaded(database_file=file) == URL


def test_secret_file_that_cannot_be_used_is_named_and_what_it_holds_is_not(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    assert "MAGNESIUM_CDS_DATABASE_FILE" in refused(database_file=file)
    for text in ("", "two\nlines-of-it"):
        file.write_text(text)
        assert "must hold one line" in refused(database_file=file)
        assert "lines-of-it" not in refused(database_file=file)
    file.write_text(URL)
    assert "take one of them" in refused(database_file=file, database=URL)
    file.write_text("hidden")
    for url in (URL.replace("magnesium@", "magnesium:other@"), "postgresql://db/x", "sqlite:////x", ""):
        told = refused(database_password_file=file, database=url)
        assert "with a user and without a password" in told
        assert "hidden" not in told
        assert "other" not in told


def test_certificate_is_made_once_for_names_of_this_hospital_and_only_its_owner_reads_the_key(tmp_path: Path) -> None:
    assert make_certificate(tmp_path, "", "DNS:cds.hospital.example").returncode == 0
    made = x509.load_pem_x509_certificate((tmp_path / "tls.crt").read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "cds.hospital.example"]
    left = made.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert 390 < left.days < 398
    assert stat.S_IMODE((tmp_path / "tls.key").stat().st_mode) == 0o600
    again = make_certificate(tmp_path)
    assert again.returncode == 0
    assert x509.load_pem_x509_certificate((tmp_path / "tls.crt").read_bytes()) == made
    assert sorted(path.name for path in tmp_path.iterdir()) == ["self-made", "tls.crt", "tls.key"]


def put(folder: Path, days: int) -> bytes:
    """A certificate of somebody else's in the folder, good for so many days."""
    words = f"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=cds -days {days} -keyout tls.key -out tls.crt"
    subprocess.run(words.split(), cwd=folder, check=True, capture_output=True)
    return (folder / "tls.crt").read_bytes()


def test_certificate_that_ends_soon_is_made_anew_if_it_is_our_own_and_else_left_and_told(tmp_path: Path) -> None:
    theirs = put(tmp_path, 10)
    done = make_certificate(tmp_path)
    assert done.returncode == 0
    assert "ends within 30 days" in done.stderr
    assert (tmp_path / "tls.crt").read_bytes() == theirs
    (tmp_path / "self-made").touch()
    assert make_certificate(tmp_path).returncode == 0
    assert (tmp_path / "tls.crt").read_bytes() != theirs


def test_half_a_certificate_is_refused(tmp_path: Path) -> None:
    put(tmp_path, 100)
    (tmp_path / "tls.key").unlink()
    done = make_certificate(tmp_path)
    assert done.returncode == 1
    assert "belong together" in done.stderr
