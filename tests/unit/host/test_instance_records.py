"""What the agent remembers survives, and nothing else counts."""

from __future__ import annotations

import uuid
from pathlib import Path

from msgspec.structs import replace

from astara.contract.agent import Body, Credential
from astara.contract.generation import Generation
from astara.host.records import Record, Records, Tombstone, is_instance_id
from support.node_agent import port, spec


def record() -> Record:
    return Record.of(spec(port(), port()), created_at=12.5)


def test_what_was_saved_is_loaded_by_another_process(tmp_path: Path) -> None:
    kept = record()
    Records(tmp_path).save(kept)
    assert list(Records(tmp_path).load()) == [kept]


def test_key_and_slot_are_metadata_in_the_file(tmp_path: Path) -> None:
    kept = record()
    Records(tmp_path).save(kept)
    text = (tmp_path / "instances" / kept.id / "instance.json").read_text()
    assert '"astara:key"' in text
    assert '"astara:slot"' in text


def test_a_damaged_record_is_no_record_but_its_directory_is_known(tmp_path: Path) -> None:
    kept = record()
    records = Records(tmp_path)
    records.save(kept)
    (tmp_path / "instances" / kept.id / "instance.json").write_text('{"id": 3}')
    assert list(records.load()) == []
    assert records.directories() == {kept.id}


def test_foreign_directories_are_not_ours(tmp_path: Path) -> None:
    records = Records(tmp_path)
    (tmp_path / "instances" / "lost+found").mkdir()
    assert records.directories() == set()
    assert list(records.load()) == []


def test_an_equal_record_is_not_written_again(tmp_path: Path) -> None:
    kept = record()
    records = Records(tmp_path)
    records.save(kept)
    before = (tmp_path / "instances" / kept.id / "instance.json").stat()
    records.save(kept)
    assert (tmp_path / "instances" / kept.id / "instance.json").stat() == before


def test_removing_is_final_and_may_be_repeated(tmp_path: Path) -> None:
    kept = record()
    records = Records(tmp_path)
    records.save(kept)
    records.remove(kept.id)
    records.remove(kept.id)
    assert records.directories() == set()


def test_a_tombstone_is_kept_until_it_is_old(tmp_path: Path) -> None:
    records, gone = Records(tmp_path), str(uuid.uuid4())
    stone = Tombstone(generation=Generation(2, 3), at=5.0)
    records.bury(gone, stone)
    written_at = (tmp_path / "tombstones" / f"{gone}.json").stat().st_mtime
    records.purge_tombstones(older_than=written_at)
    assert records.tombstone(gone) == stone
    records.purge_tombstones(older_than=written_at + 1)
    assert records.tombstone(gone) is None


def test_an_instance_id_cannot_lead_out_of_the_directory() -> None:
    assert is_instance_id(str(uuid.uuid4()))
    for text in ("../../etc", "", "x", str(uuid.uuid4()).upper(), f"{uuid.uuid4()}/..", f"{uuid.uuid4()}\n"):
        assert not is_instance_id(text)


def test_a_credential_is_kept_for_us_alone_and_never_in_the_record(tmp_path: Path) -> None:
    secret = Credential(ca="the CA", certificate="who", key="the secret")
    wish = replace(spec(port()), credential=secret, body=Body(kind="container", image="a"))
    records, kept = Records(tmp_path), Record.of(wish, created_at=1.0)
    records.save(kept)
    records.keep_credential(wish.id, secret)
    directory = tmp_path / "instances" / wish.id
    assert (directory / "credential.json").stat().st_mode & 0o777 == 0o600
    assert "secret" not in (directory / "instance.json").read_text()
    assert Records(tmp_path).credential(wish.id) == secret
    assert next(Records(tmp_path).load()).spec(secret) == wish
    assert "secret" not in repr(wish)
    records.remove(wish.id)
    assert records.credential(wish.id) is None


def pem(name: str) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----\n"


def test_what_an_instance_may_show_is_what_it_was_given_lately_and_goes_with_it(tmp_path: Path) -> None:
    records, instance = Records(tmp_path), str(uuid.uuid4())
    assert records.certificates(instance) == []
    for number in range(8):
        given = Credential(ca="", certificate=pem(str(number)) + pem("the CA"), key="")
        records.keep_credential(instance, given)
        records.keep_credential(instance, given)
    assert records.certificates(instance) == [pem(str(number)) for number in (7, 6, 5, 4)]
    records.remove(instance)
    assert records.certificates(instance) == []


def test_a_damaged_credential_is_none(tmp_path: Path) -> None:
    records, instance = Records(tmp_path), str(uuid.uuid4())
    records.keep_credential(instance, Credential(ca="a", certificate="b", key="c"))
    (tmp_path / "instances" / instance / "credential.json").write_text("{")
    assert records.credential(instance) is None
