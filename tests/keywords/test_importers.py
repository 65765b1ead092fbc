import codecs
import csv
import io
import zipfile
from dataclasses import replace
from xml.sax.saxutils import escape

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywords import importers
from keywords.entry import ASKED_ONLY, Action, Boundary, Direction, Entry, Match, faults
from keywords.importers import Imported, Unreadable, identity, read, wanted, write_csv
from keywords.risks import RISKS


def text(data: str | bytes, name: str = "list.txt") -> Imported:
    return read(data if isinstance(data, bytes) else data.encode(), name=name, risk="A1h")


def terms(data: str | bytes) -> list[str]:
    return [entry.term for entry in text(data).entries]


def problems(imported: Imported) -> list[tuple[int, str]]:
    return [(rejected.line, rejected.reason) for rejected in imported.rejected]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("冰毒\n大麻\n", ["冰毒", "大麻"]),
        ("# 注释\n\n  冰毒  \r\n大麻\r海洛因", ["冰毒", "大麻", "海洛因"]),
        ("冰毒,\n大麻，\n", ["冰毒", "大麻"]),
        ("高压气枪,气枪子弹\n气枪价格，气枪专卖店\n", ["高压气枪", "气枪子弹", "气枪价格", "气枪专卖店"]),
        ("冰毒、大麻、海洛因\n", ["冰毒", "大麻", "海洛因"]),
        ("猎枪|真枪｜手枪\n法;轮\n", ["猎枪", "真枪", "手枪", "法轮"]),
        ("真、善、忍\n法+輪+功\n", ["真善忍", "法輪功"]),
        ("疫情+红会+政府\nxi+jin+ping\n拍肩,药\n", ["疫情 & 红会 & 政府", "xi & jin & ping", "拍肩 & 药"]),
        ("TMD=>真美妙\n假币=>>\n地震=地灾\n40=\n", ["TMD", "假币", "地震", "40"]),
        ("3+1+4=85月12号\nC++\nhttp://a.cn/?x=1\n", ["3+1+4=85月12号", "C++", "http://a.cn/?x=1"]),
        ("冰毒,3\n大麻,5\n海洛因\n", ["冰毒", "大麻", "海洛因"]),
        ("冰毒 1\n大麻 12\nFlexiSpy PRO 3\n", ["冰毒", "大麻", "FlexiSpy PRO"]),
        ("怀念 64\n法 轮 功\nfa lun\n", ["怀念 64", "法 轮 功", "fa lun"]),
        ("淫、色情、赌博\n", ["淫", "色情", "赌博"]),
        ("公安\t局\n派出所/\n", ["公安", "派出所/"]),
    ],
)
def test_the_layouts_of_the_public_lists(lines: str, expected: list[str]) -> None:
    """Each line means what its list means by it."""
    assert expected == terms(lines)


def test_combinations_are_looked_for_in_questions() -> None:
    """The only direction that they may have."""
    (entry,) = text("疫情+红会").entries
    assert (Match.COMBO, Direction.IN) == (entry.match, entry.direction)


def test_columns_behind_a_word() -> None:
    """A risk, a wished action, longer harmless words; a number is a weight; anything else is a tag."""
    first, second, third = text("冰毒\tA1f\tblock\t10\n海洛\tobserve\t海洛斯,小海洛\n大麻\t毒品\n").entries
    assert ("A1f", Action.OBSERVE, "wanted: block", ()) == (first.risk, first.action, first.note, first.tags)
    assert (("海洛斯", "小海洛"), "") == (second.exceptions, second.note)
    assert ("A1h", ("毒品",)) == (third.risk, third.tags)


def test_tags_behind_a_comma_are_known_by_their_repetition() -> None:
    """Where nearly all lines are pairs whose second halves repeat, those are tags; elsewhere they are words."""
    found = text("冰毒,毒品\n大麻,毒品\n手枪,武器\n步枪,武器\n").entries
    assert [("冰毒", ("毒品",)), ("大麻", ("毒品",)), ("手枪", ("武器",)), ("步枪", ("武器",))] == [
        (entry.term, entry.tags) for entry in found
    ]
    assert ["冰毒", "大麻", "手枪", "步枪"] == terms("冰毒,大麻\n手枪,步枪\n")


@pytest.mark.parametrize(
    "data",
    [
        "冰毒\n大麻\n".encode(),
        codecs.BOM_UTF8 + "冰毒\n大麻\n".encode(),
        "冰毒\r\n大麻\r\n".encode("gb18030"),
        codecs.BOM_UTF16_LE + "冰毒\n大麻\n".encode("utf-16-le"),
        codecs.BOM_UTF16_BE + "冰毒\r\n大麻".encode("utf-16-be"),
    ],
)
def test_the_encodings_of_chinese_files(data: bytes) -> None:
    """UTF-8 with and without its mark, GB18030, UTF-16 with its mark."""
    assert ["冰毒", "大麻"] == terms(data)


def test_a_line_in_another_encoding_is_reported() -> None:
    """It is not turned into other words, and the rest is imported."""
    data = "冰毒\n大麻\n海洛因\n".encode() + b"\xff\xfe\xff\n" + "吗啡\n".encode()
    imported = text(data)
    assert ["冰毒", "大麻", "海洛因", "吗啡"] == [entry.term for entry in imported.entries]
    assert [(4, "is not in the encoding of the other lines")] == problems(imported)


def test_bad_rows_are_reported_with_their_line() -> None:
    """Nothing is dropped in silence."""
    imported = text("冰毒\n国内政要人物：\n&\n" + "长" * 201 + "\na+b+c+d+e+ff\n大麻\n")
    assert ["冰毒", "大麻"] == [entry.term for entry in imported.entries]
    assert [2, 3, 4, 5] == [rejected.line for rejected in imported.rejected]
    assert "is a heading, not a word" == imported.rejected[0].reason
    assert "term: nothing of `&` is left once spaces and symbols are gone" == imported.rejected[1].reason
    assert "term: has more than 200 characters" == imported.rejected[2].reason
    assert ("长" * importers.SHOWN, "a+b+c+d+e+ff") == tuple(rejected.text for rejected in imported.rejected[2:])


def test_words_that_fold_to_the_same_are_one() -> None:
    """Width, case, traditional forms and blanks make no second entry, and each repetition is counted."""
    imported = text("法轮功\n法 輪 功\nABC\nａｂｃ\nabc\n法轮\n")
    assert (["法轮功", "ABC", "法轮"], 3) == ([entry.term for entry in imported.entries], imported.duplicates)


def test_every_row_is_accounted_for() -> None:
    """Entries, rejected rows and duplicates add up to the lines."""
    lines = ["冰毒", "冰 毒", "&", "大麻", "大麻", "标题："]
    imported = text("\n".join(lines))
    assert len(lines) == len(imported.entries) + len(imported.rejected) + imported.duplicates


LINED = {
    "list.txt": "冰毒\n\n# 注释\n冰 毒\n大麻,海洛因\n标题：\n&\n",
    "table.csv": '\nterm,note\n冰毒,"两\n行"\n,\n冰 毒,\n,x\n大麻,一,二\n',
    "objects.jsonl": '{"term": "冰毒"}\n\n{"term": "冰 毒"}\n{"trem": "x"}\n{"term": "大麻"}',
}


@pytest.mark.parametrize(("name", "data"), LINED.items())
def test_lines_and_words_add_up(name: str, data: str) -> None:
    """Every line of a file is of one kind, and every word in it became one thing."""
    imported = text(data, name)
    counts = imported.counts
    assert len(data.splitlines()) == counts["lines"]
    assert counts["lines"] == sum(counts[kind] for kind in ("with_words", "blank", "comments", "header", "continued"))
    assert counts["words"] == len(imported.entries) + len(imported.rejected) + imported.duplicates


def test_each_kind_of_line_is_counted() -> None:
    """A heading is a word that was rejected."""
    counts = text(LINED["list.txt"]).counts
    assert (7, 5, 1, 1, 6, 1) == tuple(
        counts[name] for name in ("lines", "with_words", "blank", "comments", "words", "headings")
    )
    counts = text(LINED["table.csv"], "a.csv").counts
    assert (8, 4, 2, 1, 1) == tuple(counts[name] for name in ("lines", "with_words", "blank", "header", "continued"))


def test_rows_that_a_sheet_leaves_out_are_blank() -> None:
    """The number of lines is what Excel shows; a row beyond its last one is none."""
    data = sheet(("term",), ("冰毒",), ("大麻",))
    spread = rewritten(
        data, b'<row><c t="inlineStr"><is><t>\xe5\xa4\xa7', b'<row r="9"><c t="inlineStr"><is><t>\xe5\xa4\xa7'
    )
    counts = text(spread, "a.xlsx").counts
    assert (9, 2, 6, 1) == tuple(counts[name] for name in ("lines", "with_words", "blank", "header"))
    with pytest.raises(Unreadable, match="a row that is numbered 1048577"):
        text(rewritten(spread, b'r="9"', b'r="1048577"'), "a.xlsx")


def rewritten(data: bytes, old: bytes, new: bytes) -> bytes:
    """Return an xlsx file with other bytes in its sheet."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(out, "w") as after:
        for name in before.namelist():
            after.writestr(name, before.read(name).replace(old, new))
    return out.getvalue()


def test_what_the_caller_says_fills_every_entry() -> None:
    """Source, licence and who added it are kept for the traceability of clause 5.1."""
    (entry,) = read(b"abc", name="x.txt", risk="A2a", source="list", licence="MIT", added_by="li").entries
    assert Entry(id=0, term="abc", risk="A2a", source="list", licence="MIT", added_by="li") == entry


def test_an_unknown_risk_is_reported_for_each_row() -> None:
    """A wrong choice imports nothing."""
    imported = read(b"abc\ndef", name="x.txt", risk="Z9")
    assert ([], [1, 2]) == (imported.entries, [rejected.line for rejected in imported.rejected])


# Tables


def test_a_table_names_its_columns() -> None:
    """Columns in any order and case; blank cells take what the caller said."""
    data = "Risk,TERM,exceptions,match,severity,tags,id\nA1f,海洛,海洛斯|小海洛,,3,毒品|烟,99\n,大麻,,exact,,,\n"
    first, second = text(data, "x.csv").entries
    assert (0, "A1f", "海洛", ("海洛斯", "小海洛"), Match.FOLDED, 3, ("毒品", "烟")) == (
        first.id, first.risk, first.term, first.exceptions, first.match, first.severity, first.tags,
    )  # fmt: skip
    assert ("A1h", "大麻", Match.EXACT, 2) == (second.risk, second.term, second.match, second.severity)


@pytest.mark.parametrize("data", ["term\trisk\n冰毒\tA1f\n", "term;risk\r\n冰毒;A1f\r\n", "term,risk\r冰毒,A1f\r"])
def test_tables_of_other_programs(data: str) -> None:
    """Tabs, semicolons, and the three ends of lines."""
    assert [("冰毒", "A1f")] == [(entry.term, entry.risk) for entry in text(data, "X.CSV").entries]


def test_a_wished_action_is_kept_and_not_followed() -> None:
    """What nobody measured does not block; the wish stands in the note."""
    data = "term,action,note\n冰毒,block,see\n大麻,observe,\n可卡因,Judge,\n".encode()
    entries = read(data, name="x.csv", risk="A1f").entries
    assert [Action.OBSERVE] * 3 == [entry.action for entry in entries]
    assert ["see wanted: block", "", "wanted: judge"] == [entry.note for entry in entries]
    assert [Action.BLOCK, None, Action.JUDGE] == [wanted(entry) for entry in entries]
    kept = read(data, name="x.csv", risk="A1f", keep_actions=True).entries
    assert [Action.BLOCK, Action.OBSERVE, Action.JUDGE] == [entry.action for entry in kept]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("term,colour\nabc,red\n", "unknown column `colour`"),
        ("risk\nA1a\n", "has no column `term`"),
        (" \n", "is empty"),
        ("#\n", "unknown column `#`"),
        ("term,risk,term\nabc,A1a,x\n", "`term` stands there twice"),
    ],
)
def test_a_header_that_is_not_ours_is_refused(data: str, reason: str) -> None:
    """With the name that is wrong."""
    with pytest.raises(Unreadable, match=reason):
        text(data, "x.csv")


def test_bad_rows_of_a_table_are_reported() -> None:
    """One reason a field; the line is the file's."""
    data = (
        'term,risk,severity,action\n"a\nb",A1a,,\n,A1a,,\nabc,Z1,7,\nabd,A1a,x,\nabe,A1a,,stop\n'
        'abf,A1a,,,more\n"abg,A1a,,\nabh,A1a,,\n'
    )
    imported = text(data, "x.csv")
    assert ["a\nb", "abh"] == [entry.term for entry in imported.entries]
    assert [
        (4, "term: is empty"),
        (5, "risk: `Z1` is none of the 31 risks (A1a … A5b); severity: must be 1, 2 or 3"),
        (6, "severity: `x` is no whole number"),
        (7, "action: `stop` is none of block, judge, mask, observe"),
        (8, "has a cell under no column"),
        (9, "a quote is not closed, or the line is in another encoding"),
    ] == problems(imported)


SIGNS = {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}


def sheet(*rows: tuple[str, ...]) -> bytes:
    """Return an xlsx file of *rows*."""
    cell = '<c t="inlineStr"><is><t>{}</t></is></c>'
    cells = "".join(f"<row>{''.join(cell.format(escape(text, SIGNS)) for text in row)}</row>" for row in rows)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("xl/workbook.xml", '<w xmlns:r="u"><sheet r:id="a"/></w>')
        archive.writestr("xl/_rels/workbook.xml.rels", '<r><Relationship Id="a" Target="s.xml"/></r>')
        archive.writestr("xl/s.xml", f"<worksheet>{cells}</worksheet>")
    return out.getvalue()


@pytest.mark.parametrize("name", ["x.xlsx", "x.XLSX", "renamed.txt"])
def test_a_spreadsheet_is_a_table(name: str) -> None:
    """The same columns, rules and reports; known by its name or by its first bytes."""
    imported = text(sheet(("term", "risk", "severity"), ("冰毒", "A1f", "3.0"), ("大麻", "A9"), ("冰 毒",)), name)
    assert [("冰毒", "A1f", 3)] == [(entry.term, entry.risk, entry.severity) for entry in imported.entries]
    assert ([3], 1) == ([rejected.line for rejected in imported.rejected], imported.duplicates)


def test_a_broken_spreadsheet_is_unreadable() -> None:
    """And says so."""
    with pytest.raises(Unreadable, match="no readable xlsx file"):
        text(sheet(("term",))[:-30], "x.xlsx")


def test_files_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines and bytes."""
    monkeypatch.setattr(importers, "MOST_LINES", 3)
    assert 3 == len(text("aaa\nbbb\nccc\n").entries)
    for data, name in [(b"aaa\nbbb\nccc\nddd", "x.txt"), (sheet(("term",), *[("a",)] * 3), "x.xlsx")]:
        with pytest.raises(Unreadable, match="more than 3"):
            text(data, name)
    monkeypatch.setattr(importers, "MOST_BYTES", 5)
    with pytest.raises(Unreadable, match="MB"):
        text("aaa\nbbb")


# Round trip

words = st.text(st.sampled_from("冰毒大麻abZ0 =+-@'\"|\\,;\n\r\t、'"), min_size=1, max_size=8)
lists = st.lists(words, max_size=3).map(tuple)
times = st.none() | st.integers(0, 2**40)
entries = (
    st.builds(
        Entry,
        id=st.just(0),
        term=words.map(str.strip),
        risk=st.sampled_from(sorted(RISKS)),
        severity=st.integers(1, 3),
        action=st.sampled_from(Action),
        match=st.sampled_from(Match),
        direction=st.sampled_from(Direction),
        boundary=st.sampled_from(Boundary),
        mask=words | st.sampled_from(["", " ", "'"]),
        within=st.integers(1, 500),
        tags=lists.filter(lambda tags: "".join(tags).strip() or not tags),
        source=words | st.just(""),
        note=words | st.just(""),
        reviewed_at=times,
        expires_at=times,
        benign_hits=times,
    )
    .map(lambda entry: replace(entry, benign_texts=entry.benign_hits))
    .filter(lambda entry: not list(faults(entry)))
)


@given(st.lists(entries, max_size=4, unique_by=identity))
def test_what_is_written_is_read_again(some: list[Entry]) -> None:
    """Every field of every entry, signs of the formats and of spreadsheets included."""
    lines = b"".join(msgspec.json.encode(entry) + b"\n" for entry in some)
    table = list(csv.reader(io.StringIO(write_csv(some).decode("utf-8-sig"), newline="")))
    for data, name in ((write_csv(some), "x.csv"), (lines, "x.jsonl"), (sheet(*map(tuple, table)), "x.xlsx")):
        if data:
            assert Imported(some, [], 0) == read(data, name=name, risk="A1a", keep_actions=True), name


@given(st.lists(entries, max_size=4, unique_by=identity))
def test_without_trust_only_actions_change(some: list[Entry]) -> None:
    """They are observed, and what they were stands in the note."""
    found = read(write_csv(some), name="x.csv", risk="A1a").entries
    assert [e.action for e in some] == [wanted(new) or Action.OBSERVE for new in found]
    assert [replace(e, action=Action.OBSERVE, note="") for e in some] == [replace(new, note="") for new in found]


@pytest.mark.parametrize(
    ("data", "name", "reason"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "x.txt", "is no text"),
        (b"%PDF-1.7\n" + bytes(range(1, 32)) * 9, "x.csv", "is no text"),
        ("冰毒".encode("utf-16-le") + b"a\0", "x.jsonl", "is no text"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old.xls", r"ending \.xls"),
        (b"abc", "x.png", r"ending \.png: accepted are \.txt"),
        (b"abc", "words", "no ending"),
        (b"", "x.txt", "is empty"),
        (codecs.BOM_UTF8 + b" \r\n", "x.jsonl", "is empty"),
        (b"", "x.xlsx", "is empty"),
        (b"abc", "x.xlsx", "no readable xlsx"),
    ],
)
def test_what_is_no_list_is_refused(data: bytes, name: str, reason: str) -> None:
    """Nothing is read as words that is none: pictures, archives, files of a form that nobody told."""
    with pytest.raises(Unreadable, match=reason):
        text(data, name)


def test_a_zip_of_something_else_is_refused() -> None:
    """By what it lacks."""
    with zipfile.ZipFile(out := io.BytesIO(), "w") as archive:
        archive.writestr("a.txt", "abc")
    with pytest.raises(Unreadable, match="something else than a spreadsheet"):
        text(out.getvalue(), "x.txt")


def test_lines_of_json() -> None:
    """Fields by their names; what is absent or null takes what the caller said; bad lines are reported."""
    lines = [
        '{"term": "冰毒", "risk": "A1f", "tags": ["甲", "b|c"], "severity": 3, "id": 7, "expires_at": null}',
        "",
        '{"term": "大麻"}',
        '{"risk": "A1f"}',
        '{"term": "abc", "colour": "red"}',
        '{"term": "abc", "severity": "x"}',
        '{"term": "abc", "tags": [1]}',
        '["abc"]',
        '{"term": "abc"',
        '{"term": "", "risk": "Z9"}',
    ]
    imported = text("\n".join(lines), "X.JSONL")
    first, second = imported.entries
    assert ("A1f", ("甲", "b|c"), 3, 0) == (first.risk, first.tags, first.severity, first.id)
    assert ("A1h", 2, "X.JSONL") == (second.risk, second.severity, second.source)
    assert [4, 5, 6, 7, 8, 9, 10] == [line for line, _ in problems(imported)]
    reasons = [reason for _, reason in problems(imported)]
    assert "has no field `term`" == reasons[0] and "`colour`" in reasons[1] and "severity: `x`" in reasons[2]
    assert "term: is empty" in reasons[6] and "risk: `Z9`" in reasons[6]


def test_where_each_entry_stood() -> None:
    """Its line, the fields that the line stated, and the action that it asked for."""
    first, second = text("term,action,risk,note\n冰毒,block,,x\n\n大麻,,A1f,\n", "x.csv").places
    assert (2, {"term", "action", "note"}, Action.BLOCK, "x") == (
        first.line, first.stated, first.asked.action, first.asked.note,
    )  # fmt: skip
    assert (4, {"term", "risk"}) == (second.line, second.stated)


def test_the_source_is_the_file_where_nobody_says_another() -> None:
    """A column of its own counts, though it is empty; what the caller says fills it."""
    assert "list.txt" == text("abc").entries[0].source
    assert "" == text("term,source\nabc,\n", "x.csv").entries[0].source
    assert "s" == read(b"term,source\nabc,\n", name="x.csv", risk="A1a", source="s").entries[0].source


def test_exceptions_survive_a_round_trip() -> None:
    """Whatever signs they have."""
    entry = Entry(id=0, term="海洛", risk="A1f", exceptions=("海洛|斯", "\\大海洛", "小海洛"))
    assert [entry] == read(write_csv([entry]), name="x.csv", risk="A1a").entries


def test_a_spreadsheet_runs_nothing_of_what_is_written() -> None:
    """No cell begins like a formula."""
    entry = Entry(id=1, term="=HYPERLINK(1)", risk="A1h", note="-1+1", tags=("@SUM(1)",))
    data = write_csv([entry])
    assert data.startswith(codecs.BOM_UTF8)
    row = list(csv.reader(data.decode("utf-8-sig").splitlines()))[1]
    assert [] == [cell for cell in row if cell[:1] in {"=", "+", "-", "@"}]


@given(st.binary(max_size=200), st.sampled_from(["x.txt", "x.csv", "x.xlsx", "x.jsonl"]))
def test_any_bytes_are_read_or_refused(data: bytes, name: str) -> None:
    """No other error leaves the importer."""
    for prefix in (b"", b"term,risk\n"):
        try:
            imported = read(prefix + data, name=name, risk="A1a")
        except Unreadable:
            continue
        assert [] == [fault for entry in imported.entries for fault in faults(entry)]


def test_questions_only_is_understood() -> None:
    """A row need not repeat the only direction that its match has."""
    rows = "".join(
        f"{term},{match}\n" for term, match in [("shi yan yi", "pinyin"), ("a.c", "regex"), ("aa&bb", "combo")]
    )
    imported = text(f"term,match\n{rows}", "x.csv")
    assert ({Direction.IN}, set(ASKED_ONLY)) == (
        {entry.direction for entry in imported.entries},
        {entry.match for entry in imported.entries},
    )
