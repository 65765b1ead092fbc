import io
import zipfile

import pytest

from keywords import spreadsheet
from keywords.spreadsheet import BadSheet, first_sheet

BOOK = (
    '<workbook xmlns="http://m" xmlns:r="http://r"><sheets>'
    '<sheet name="二" sheetId="2" r:id="rId7"/><sheet name="一" sheetId="1" r:id="rId1"/></sheets></workbook>'
)
RELATIONS = (
    '<Relationships xmlns="http://p"><Relationship Id="rId1" Target="worksheets/sheet1.xml"/>'
    '<Relationship Id="rId7" Target="/xl/worksheets/other.xml"/></Relationships>'
)
STRINGS = (
    '<sst xmlns="http://m"><si><t>term</t></si><si><r><t>黄</t></r><r><t>赌</t></r><rPh><t>huang</t></rPh></si></sst>'
)


def book(rows: str, **files: str) -> bytes:
    """Return an xlsx file whose first sheet has *rows*."""
    parts = {
        "xl/workbook.xml": BOOK,
        "xl/_rels/workbook.xml.rels": RELATIONS,
        "xl/sharedStrings.xml": STRINGS,
        "xl/worksheets/other.xml": f'<worksheet xmlns="http://m"><sheetData>{rows}</sheetData></worksheet>',
        "xl/worksheets/sheet1.xml": "<worksheet/>",
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in {**parts, **files}.items():
            archive.writestr(name, text)
    return out.getvalue()


def rows(data: bytes, most_rows: int = 10) -> list[tuple[int, list[str]]]:
    return list(first_sheet(data, most_rows=most_rows))


def test_the_first_sheet_is_the_first_in_the_book() -> None:
    """Shared and inline texts, numbers, gaps and empty rows; readings over ideographs are no text."""
    data = book(
        '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="C1" t="inlineStr"><is><t>risk</t></is></c></row>'
        '<row r="2"/><row r="5"><c r="A5" t="s"><v>1</v></c><c r="B5"><v>3</v></c><c r="C5" t="s"/></row>'
        "<row><c><v>7</v></c></row>"
    )
    assert [(1, ["term", "", "risk"]), (5, ["黄赌", "3"]), (6, ["7"])] == rows(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04",
        b"no archive",
        book("<row>"),
        book('<row><c t="s"><v>x</v></c></row>'),
        book("", **{"xl/_rels/workbook.xml.rels": "<Relationships/>"}),
        book("", **{"xl/workbook.xml": "<workbook/>"}),
        book('<row r="1"><c r="A1"><v>1</v></c></row>')[:-40],
    ],
)
def test_what_is_no_spreadsheet_is_told(data: bytes) -> None:
    """Never another error."""
    with pytest.raises(BadSheet):
        rows(data)


def test_entities_are_not_even_read() -> None:
    """A billion laughs begin with a document type."""
    evil = '<!DOCTYPE w [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><worksheet>&b;</worksheet>'
    with pytest.raises(BadSheet, match="document type"):
        rows(book("", **{"xl/worksheets/other.xml": evil}))


def test_a_small_file_that_unpacks_to_much_is_refused() -> None:
    """51 MB of blanks in some kilobytes: the bytes that come out are counted, in all files together."""
    data = book("", **{"xl/sharedStrings.xml": f"<sst>{' ' * (spreadsheet.MOST_UNPACKED + (1 << 20))}</sst>"})
    assert len(data) < 100_000
    with pytest.raises(BadSheet, match="50 MB"):
        rows(data)


def test_one_long_text_cannot_stand_in_every_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells that share a text count each for themselves."""
    monkeypatch.setattr(spreadsheet, "MOST_UNPACKED", 4_000)
    strings = f"<sst><si><t>{'长' * 500}</t></si></sst>"
    with pytest.raises(BadSheet, match="characters"):
        rows(book('<row><c t="s"><v>0</v></c></row>' * 9, **{"xl/sharedStrings.xml": strings}))


def test_rows_and_columns_are_bounded() -> None:
    """A sheet is as long as any other list."""
    with pytest.raises(BadSheet, match="more than 2 rows"):
        rows(book("<row><c><v>1</v></c></row>" * 3), most_rows=2)
    with pytest.raises(BadSheet, match="columns"):
        rows(book('<row><c r="XFD1"><v>1</v></c></row>'))
