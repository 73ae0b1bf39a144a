"""Where CloudFormation says otherwise than we do, its word counts."""

from pathlib import Path

from i2kit.providers.aws.design.difference import Change
from i2kit.providers.aws.running import seen
from i2kit.providers.aws.running.foresight import Foreseen, judged

GROUP = Change("change", "Group", "group of machines", ("MinSize 3 → 4",))
RECORD = Change("replace", "RecordWeb", "DNS record")


def test_what_is_said_alike_needs_no_note() -> None:
    said = [
        Foreseen("Group", "group of machines", "change"),
        Foreseen("RecordWeb", "DNS record", "replace"),
        # Named because it refers to what changes.
        Foreseen("Role", "role", "change"),
    ]
    assert judged((GROUP, RECORD), said) == ((GROUP, RECORD), ())


def test_its_word_counts_for_what_is_replaced() -> None:
    said = [
        Foreseen("Group", "group of machines", "replace"),
        Foreseen("RecordWeb", "DNS record", "change"),
        Foreseen("Role", "role", "remove"),
    ]
    changes, notes = judged((GROUP, RECORD), said)
    assert [(one.id, one.verb) for one in changes] == [
        ("Group", "replace"),
        ("RecordWeb", "change"),
        ("Role", "remove"),
    ]
    assert changes[0].reasons == GROUP.reasons
    assert notes == (
        "group of machines Group: CloudFormation says that it is replaced",
        "DNS record RecordWeb: CloudFormation says that it is changed in place",
        "role Role: CloudFormation says remove",
    )


def test_what_it_cannot_tell_yet_is_said() -> None:
    changes, notes = judged((GROUP,), [Foreseen("Group", "group of machines", None)])
    assert changes == (GROUP,)
    assert notes == ("group of machines Group: CloudFormation can't tell yet whether it is replaced",)


def test_what_was_seen_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "state/aws/us-east-1"
    assert seen.recall(folder, "i2kit-web") is None
    seen.remember(folder, "i2kit-web", {"Resources": {"A": {}}})
    seen.remember(folder, "i2kit-web", {"Resources": {"B": {}}})
    assert seen.recall(folder, "i2kit-web") == {"Resources": {"B": {}}}
    assert [one.name for one in folder.iterdir()] == ["i2kit-web.json"]
    (folder / "i2kit-web.json").write_text('{"Resources": {')
    assert seen.recall(folder, "i2kit-web") is None
    seen.forget(folder, "i2kit-web")
    seen.forget(folder, "i2kit-web")
    assert list(tmp_path.iterdir()) == []
    file = tmp_path / "file"
    file.touch()
    seen.remember(file / "folder", "i2kit-web", {})
    assert seen.recall(file / "folder", "i2kit-web") is None
