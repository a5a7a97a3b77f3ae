"""report.html: one self-contained page with a run's tables, trade-off and decoding viewer."""

from __future__ import annotations

import base64
import hashlib
import html
from importlib import resources
from pathlib import Path
from typing import Any

from results.findings import Findings
from results.report import payload

SCRIPTS = ("vendor/chart.umd.min.js", "common.js", "tables.js", "chart.js", "viewer.js", "main.js")


def write(findings: Findings, document: dict[str, Any], path: Path) -> Path:
    """Assemble the page from this package's files and the findings, and write it to `path`.

    Every script carries its hash in the page's content security policy, so nothing that a sample's text might
    smuggle in could run, and nothing is ever fetched. Data travels as JSON (and, for the samples, as gzipped
    JSON in base64) in blocks that a browser does not execute.

    Args:
        document: the content of summary.json.
    """
    scripts = [_asset(name) for name in SCRIPTS]
    blocks = [_data_block("data", payload.embed(payload.overview(findings, document)))]
    blocks += [_data_block(name, text) for name, text in payload.chunks(findings.run)]
    page = _asset("page.html")
    replaced = {
        "{{policy}}": _policy(scripts),
        "{{title}}": html.escape(f"{payload.title(findings.run)}: parallel decoding report"),
        "{{style}}": _asset("report.css"),
        "{{blocks}}": "\n".join(blocks),
        "{{scripts}}": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    for marker, text in replaced.items():
        before, _, after = page.partition(marker)
        page = before + text + after
    path.write_text(page, encoding="utf-8")
    return path


def _asset(name: str) -> str:
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    return text.strip()


def _data_block(name: str, text: str) -> str:
    return f'<script type="text/plain" id="{name}">{text}</script>'


def _policy(scripts: list[str]) -> str:
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {allowed}"
