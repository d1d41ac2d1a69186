"""A certificate of erasure as a page to print and file; the signed JSON is attached to it, and is what counts."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from fpdf import FPDF
from fpdf.enums import Align, XPos, YPos

Json = Mapping[str, Any]

ATTACHMENT = "certificate.json"
FONT = "Helvetica"
LINE = 5.5  # mm
HEADINGS = ("Serial", "Model", "Size", "Method", "NIST SP 800-88", "Samples")
WIDTHS = (38, 44, 22, 40, 26, 16)


def pdf_of(certificate: Json) -> bytes:
    """The document of *certificate* (as `certificates.certificate` gives it) on A4; the same bytes each time.

    The built-in fonts of PDF know Western letters; any other is printed as `?`, and is right in the attachment.
    """
    document, signature = certificate["document"], certificate["signature"]
    finished = datetime.fromisoformat(document["finished_at"]).replace(tzinfo=UTC)
    page = FPDF(format="A4")
    page.set_creation_date(finished)
    page.set_title("Certificate of erasure")
    page.set_producer(document["product"])
    page.set_margin(14)
    page.add_page()
    page.set_font(FONT, "B", 20)
    _line(page, "Certificate of erasure", height=12)
    page.set_font(FONT, "", 10)
    _line(page, "Everything that was on the disks below was erased, and read back afterwards.")
    page.ln(4)
    for name, value in _facts(document):
        page.set_font(FONT, "B", 9)
        page.cell(38, LINE, _western(name))
        page.set_font(FONT, "", 9)
        page.multi_cell(0, LINE, _western(value), new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    page.ln(4)
    page.set_font(FONT, "", 8)
    with page.table(col_widths=WIDTHS, line_height=LINE, text_align="LEFT") as table:
        for cells in (HEADINGS, *map(_disk, document["disks"])):
            table.row(tuple(map(_western, cells)))
    page.ln(4)
    page.set_font(FONT, "B", 9)
    _line(page, f"Signature ({signature['algorithm']}, key {signature['key']})")
    page.set_font("Courier", "", 8)
    page.multi_cell(0, LINE, signature["value"], new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    page.set_font(FONT, "", 8)
    page.multi_cell(
        0, LINE,
        f"It is over the attached {ATTACHMENT}. To check that without a network: rackhand certificate verify"
        f" {ATTACHMENT} --public-key {signature['public_key']}",
        align=Align.L, new_x=XPos.LMARGIN, new_y=YPos.NEXT,
    )  # fmt: skip
    attached = json.dumps(certificate, ensure_ascii=False, indent=1).encode()
    page.embed_file(
        basename=ATTACHMENT, bytes=attached, mime_type="application/json", creation_date=finished,
        modification_date=finished, compress=True,
    )  # fmt: skip
    return bytes(page.output())


def _facts(document: Json) -> Iterator[tuple[str, str]]:
    server = document["server"]
    yield "Server", server["name"]
    yield "Model", server["model"] or "-"
    yield "Serial number", server["serial"] or "-"
    yield "Began", f"{document['started_at']} UTC"
    yield "Ended", f"{document['finished_at']} UTC"
    yield "Asked for by", document["requested_by"] or "-"
    yield "Task", str(document["task"])
    yield "Made by", document["product"]


def _disk(disk: Json) -> tuple[str, ...]:
    size = f"{disk['size_bytes'] / 10**9:.1f} GB" if disk.get("size_bytes") else "-"
    return (disk["serial"] or disk["name"], disk.get("model") or "-", size, disk["method"] or "-",
            disk["category"] or "-", str(disk["samples"]))  # fmt: skip


def _line(page: FPDF, text: str, *, height: float = LINE) -> None:
    page.cell(0, height, _western(text), new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _western(text: str) -> str:
    return text.encode("latin-1", "replace").decode("latin-1")
