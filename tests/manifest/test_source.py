"""Text to nodes: every message with its place, go-yaml's scalars, and nothing hostile gets through."""

import math
import textwrap

import pytest
import yaml

from i2kit.manifest import source
from i2kit.manifest.source import MappingNode, Node, ScalarNode, SequenceNode, documents


@pytest.fixture(params=["libyaml", "python"], autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test runs with both of PyYAML's parsers: which one is there depends on how it was built."""
    if request.param == "python":
        monkeypatch.setattr(source, "_LOADER", yaml.SafeLoader)
    elif not yaml.__with_libyaml__:
        pytest.skip("PyYAML was built without libyaml")
    return str(request.param)


def plain(node: Node) -> object:
    """A node as Python data."""
    match node:
        case ScalarNode(value=value):
            return value
        case SequenceNode(items=items):
            return [plain(item) for item in items]
        case MappingNode(entries=entries):
            return {key: plain(value) for key, (_, value) in entries.items()}


def values(data: bytes | str, name: str = "a.yml") -> list[object]:
    found, problems = documents(name, data.encode() if isinstance(data, str) else data)
    assert [str(problem) for problem in problems] == []
    return [plain(node) for node in found]


def wrong(data: bytes | str, name: str = "a.yml") -> list[str]:
    _, problems = documents(name, data.encode() if isinstance(data, str) else data)
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("+5", 5),
        ("1_000", 1000),
        ("0644", 420),
        ("0o644", 420),
        ("0x1F", 31),
        ("0b101", 5),
        ("089", 89.0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1.10", 1.1),
        ("22:22", "22:22"),
        ("190:20:30", "190:20:30"),
        ("2024-01-01", "2024-01-01"),
        ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"),
        ("1.2.3", "1.2.3"),
        ("yes", True),
        ("On", True),
        ("y", True),
        ("no", False),
        ("OFF", False),
        ("N", False),
        ("yEs", "yEs"),
        ("~", None),
        ("null", None),
        ("", None),
        ("=", "="),
        ("-", "-"),
        (".", "."),
        ("1.27-alpine", "1.27-alpine"),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
    ],
)
def test_scalars_without_quotes_mean_what_they_mean_to_kubectl(text: str, value: object) -> None:
    assert source.resolve(text) == value
    assert type(source.resolve(text)) is type(value)


def test_a_number_of_5000_digits_is_a_number() -> None:
    assert source.resolve("9" * 5000) == math.inf
    assert values("a: " + "9" * 5000) == [{"a": math.inf}]


def test_quotes_make_text() -> None:
    assert values("""{a: "5", b: 'yes', c: ""}""") == [{"a": "5", "b": "yes", "c": ""}]


def test_the_tag_of_text_is_the_same_as_quotes() -> None:
    assert values("a: !!str 5\nb: !!str\nc: [!!str yes]\n!!str d: 1\n") == [
        {"a": "5", "b": "", "c": ["yes"], "d": 1}
    ]


def test_places_count_from_one() -> None:
    (root,), _ = documents("dir/a.yml", "\n a:\n   - b\n   - ü: x\n".encode())
    assert isinstance(root, MappingNode)
    key, items = root.entries["a"]
    assert isinstance(items, SequenceNode)
    assert (str(key), str(items.items[0].position)) == ("dir/a.yml:2:2", "dir/a.yml:3:6")
    inner = items.items[1]
    assert isinstance(inner, MappingNode)
    assert [str(place.position) for _, place in inner.entries.values()] == ["dir/a.yml:4:9"]


def test_documents_without_content_are_skipped() -> None:
    assert values("# only\n---\n# comments\n--- # here\na: 1\n...\n---\n~\n---\nb: 2\n") == [
        {"a": 1},
        {"b": 2},
    ]
    assert values("") == []
    assert values(" \n\n") == []


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfa: \xc3\xbc\r\n",
        "\ufeffa: ü\r\n".encode("utf-16-le"),
        "\ufeffa: ü\r\n".encode("utf-16-be"),
        "a: ü\r\n---\r\n".encode(),
    ],
    ids=["utf-8 with mark", "utf-16 little", "utf-16 big", "crlf"],
)
def test_encodings_of_windows_are_read(data: bytes) -> None:
    assert values(data) == [{"a": "ü"}]


def test_merge_keys_fill_in_what_is_not_given() -> None:
    text = """
        base: &base {a: 1, b: 2}
        more: &more {b: 3, c: 4}
        one: {<<: *base, b: 5}
        two: {<<: [*base, *more]}
        three: {!!merge <<: *base}
        """
    (found,) = values(textwrap.dedent(text))
    assert isinstance(found, dict)
    assert found["one"] == {"a": 1, "b": 5}
    assert found["two"] == {"a": 1, "b": 2, "c": 4}
    assert found["three"] == {"a": 1, "b": 2}


def test_quoted_merge_key_is_a_key() -> None:
    assert values('"<<": 1') == [{"<<": 1}]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (
            "a: 1\nb: {c: 1, c: 2}\na: 3\n",
            [
                "a.yml:2:11: `c` is given twice; the first is at a.yml:2:5\n  hint: remove one of them",
                "a.yml:3:1: `a` is given twice; the first is at a.yml:1:1\n"
                "  hint: remove one of them, or write --- between two documents",
            ],
        ),
        (
            "on: 1\n",
            [
                "a.yml:1:1: the key `on` is the boolean true to YAML, and keys are text\n"
                '  hint: put it in quotes: "on"'
            ],
        ),
        (
            "x: {0644: 1}\n",
            [
                "a.yml:1:5: the key `0644` is the number 0644 to YAML, and keys are text\n"
                '  hint: put it in quotes: "0644"'
            ],
        ),
        (
            "~: 1\n",
            ['a.yml:1:1: the key `~` is empty to YAML, and keys are text\n  hint: put it in quotes: "~"'],
        ),
        (
            "? [a]\n: 1\n",
            ["a.yml:1:3: a list cannot be a key\n  hint: text that begins with { or [ needs quotes"],
        ),
        (
            "a: !!python/object/apply:os.system [id]\n",
            [
                "a.yml:1:4: the tag `!!python/object/apply:os.system` is not accepted\n"
                "  hint: remove it; text goes in quotes"
            ],
        ),
        (
            "a: !Ref b\n",
            ["a.yml:1:4: the tag `!Ref` is not accepted\n  hint: remove it; text goes in quotes"],
        ),
        ("x: &a [*a]\n", ["a.yml:1:8: `*a` refers to itself"]),
        ("x: &a {b: {c: *a}}\n", ["a.yml:1:15: `*a` refers to itself"]),
        ("x: &a 1\nz: &a [*a]\n", ["a.yml:2:8: `*a` refers to itself"]),
        ("x: *a\n", ["a.yml:1:4: `*a` has no anchor before it"]),
        ("&a x\n---\n*a\n", ["a.yml:3:1: `*a` has no anchor before it"]),
        ("a: {<<: 1}\n", ["a.yml:1:9: `<<` merges mappings only"]),
        ("a:\n\tb: 1\n", ["a.yml:2:1: a tab is used where YAML wants spaces\n  hint: indent with spaces"]),
        (
            "a:\n  b: 1\n  \tc: 1\n",
            ["a.yml:3:3: a tab is used where YAML wants spaces\n  hint: indent with spaces"],
        ),
        (
            "a: \x1b[0m\n",
            [
                "a.yml:1:4: contains the control character U+001B\n"
                '  hint: write it as an escape in double quotes, such as "\\x1b"'
            ],
        ),
        ("\x7fELF\0", ["a.yml:1:1: contains the control character U+007F\n  hint: is it a text file?"]),
        ("a: 1\n\0", ["a.yml:2:1: contains a NUL character\n  hint: is it a text file?"]),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, messages: list[str]) -> None:
    assert wrong(text) == messages


def test_latin_1_is_told_by_its_byte() -> None:
    assert wrong(b"a: 1\nb: caf\xe9\n") == [
        "a.yml:2:7: is not UTF-8: the byte 0xe9\n"
        "  hint: save the file as UTF-8 (in Windows-1252 this byte is `é`)"
    ]
    # 0x9b is what begins a terminal's control sequences in Latin-1.
    assert wrong(b"\x9b31m")[0].endswith("this byte is `›`)")
    assert wrong(b"\x9d0;x")[0].endswith("save the file as UTF-8")


def test_syntax_errors_keep_the_documents_before() -> None:
    found, problems = documents("a.yml", b"a: 1\n---\nb: [1\n")
    assert [plain(node) for node in found] == [{"a": 1}]
    assert [(p.message[:18], p.position and p.position.line) for p in problems] == [("is not valid YAML:", 4)]


@pytest.mark.parametrize(
    "text",
    [
        "name: {{ .Values.name }}\n",
        "replicas: 0\nname: {{ .Values.name }}\n",
        "{{- if .Values.on }}\nname: a\n{{- end }}\n",
        "name: a\n{{- with .Values.labels }}\nlabels: x\n{{- end }}\n",
        '{{ include "chart.labels" . }}',
        "a: {{ $x }}",
    ],
)
def test_helm_templates_are_recognized(text: str) -> None:
    found, _ = documents("a.yml", text.encode())
    (message,) = wrong(text)
    assert not found, "nothing in it is worth another complaint"
    assert "looks like a Helm template" in message
    assert message.endswith("helm template . | i2kit deploy -f -")


@pytest.mark.parametrize(
    "text", ["a: 1\nname: {{ name }}\n", "a: 1\nname: {{ ansible['x'] | y }}\n", "a: 1\nb:    {% if a %}\n"]
)
def test_templates_of_other_tools_are_recognized(text: str) -> None:
    (message,) = wrong(text)
    assert message == "a.yml:2:7: looks like a template, which is no manifest yet\n  hint: fill it in first"


def test_variables_that_break_the_syntax_are_named() -> None:
    (message,) = wrong("web: {image: nginx:${TAG}, ports: [80]}\n")
    assert message.endswith("hint: fill in the variables first, such as: envsubst < FILE | i2kit deploy -f -")


def test_templates_of_other_tools_inside_text_are_text() -> None:
    text = 'a: "{{ $labels.instance }} is down"\nb: |\n  {{ .Values.x }}\nb: 1\n'
    assert [message.split(":")[1] for message in wrong(text)] == ["4"]


@pytest.mark.parametrize("name", ["a.json", "a.yml"])
def test_json_is_read_as_json(name: str) -> None:
    text = r'{"a": "\ud83d\ude00", "b": [1, -2.5e3, true, null, "yes"], "c": {}, "d": []}'
    expected = {"a": "😀", "b": [1, -2500.0, True, None, "yes"], "c": {}, "d": []}
    assert values(text, name) == [expected]
    assert values(f"{text}\n\t{text}", name) == [expected, expected]


def test_places_in_json() -> None:
    (root,), _ = documents("a.json", b'{\n  "a": [\n    "x"]}')
    assert isinstance(root, MappingNode)
    key, items = root.entries["a"]
    assert isinstance(items, SequenceNode)
    assert (key.line, key.column, items.items[0].position.line, items.items[0].position.column) == (
        2,
        3,
        3,
        5,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"a": 1, "a": 2}',
            "a.json:1:10: `a` is given twice; the first is at a.json:1:2\n  hint: remove one of them",
        ),
        ('{"a": 1,}', "a.json:1:9: is not valid JSON: `}` was not expected"),
        ('{"a" 1}', "a.json:1:6: is not valid JSON: `1` was not expected"),
        ('{"a": [1 2]}', "a.json:1:10: is not valid JSON: `2` was not expected"),
        ('{"a": [1}', "a.json:1:9: is not valid JSON: `}` was not expected"),
        ('{"a": yes}', "a.json:1:7: is not valid JSON: `yes}` was not expected"),
        ('{"a": 01}', "a.json:1:7: is not valid JSON: `01}` was not expected"),
        ('{"a":\n[', "a.json:2:2: is not valid JSON: the last `[` is not closed"),
        ('{"a": "\\ud83d"}', 'a.json:1:7: is not valid JSON: "\\ud83d" has an escape that is no character'),
        ('{"a": "\\x"}', 'a.json:1:7: is not valid JSON: "\\x" has an escape that is no character'),
    ],
)
def test_what_is_wrong_with_json_is_told(text: str, message: str) -> None:
    assert wrong(text, "a.json") == [message]


def test_flow_style_yaml_may_begin_with_a_brace() -> None:
    assert values("{a: 1, b: [x,],}") == [{"a": 1, "b": ["x"]}]


def test_a_large_file_is_refused_unread() -> None:
    assert wrong(b"a" * (source.MAX_BYTES + 1)) == [
        "a.yml:1:1: is larger than 10 MB\n  hint: give only the documents to deploy"
    ]


def test_many_problems_become_one_line() -> None:
    messages = wrong("a: 1\n" * 1000)
    assert len(messages) == source.MAX_PROBLEMS + 1
    assert messages[-1] == "a.yml:102:1: 899 more problems of this kind follow"


def test_values_in_messages_are_short_and_printable() -> None:
    (message,) = wrong("{" + f'"{"k" * 1000}": 1, "{"k" * 1000}": 2' + "}")
    assert len(message) < 200
    (message,) = wrong(r'{"\e[31m": 1, "\e[31m": 2}')
    assert r"`\x1b[31m` is given twice" in message
