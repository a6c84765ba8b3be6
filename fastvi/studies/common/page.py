"""Page of a folder of results: all studies in one file that opens without a network."""

from __future__ import annotations

import base64
import io
import json
import shlex
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from fastvi.core.files import write_whole
from fastvi.studies.common.settings import Settings

_NAME = "index.html"
_MOST_ROWS = 500  # of a table on the page; the CSV file has all of them
_FOLDED = 12  # a table of more rows is folded

# study -> its title and what it asks, in the order of the page; others follow by name
_STUDIES = {
    "report": ("Report", "How good is q for this model and these data, and what is the truth?"),
    "model": ("The model", "How much better do a few binary latents explain digits than none?"),
    "table": (
        "A table",
        "What are p(x), p(z | x), the ELBO and both divergences where all states are seen?",
    ),
    "enumeration": ("Enumeration", "What does exact log p(x) cost as latents are added?"),
    "sampling": (
        "Sampling",
        "How far from the truth are Monte Carlo estimates, by samples and latents?",
    ),
    "bounds": ("Bounds", "How far below log p(x) are the ELBO and the importance-weighted bounds?"),
    "missing": ("Missing pixels", "What fills the upper half of an image whose lower half is seen?"),
    "variance": ("Variance", "Which variances does each of the two KL divergences get wrong?"),
    "learning": ("Learning", "What is lost by learning from a bound in place of the exact likelihood?"),
    "beyond": ("Beyond enumeration", "What is certain where there are too many states to sum?"),
}

# setting -> the option of ``fastvi study`` that sets it
OPTIONS = {
    "seed": "--seed",
    "num_images": "--num-images",
    "num_latents": "--num-latents",
    "beyond_images": "--beyond-images",
    "beyond_latents": "--beyond-latents",
}


class _Cell(NamedTuple):
    text: str
    full: str  # all digits where the text has fewer, else nothing


class _Column(NamedTuple):
    name: str
    is_number: bool
    cells: list[_Cell]


class _Table(NamedTuple):
    name: str
    file: str  # a CSV file beside the page, by its relative address; nothing where there is none
    columns: list[_Column]
    num_rows: int

    @property
    def rows(self) -> list[list[_Cell]]:
        """Rows that the page shows."""
        return [list(row) for row in zip(*(column.cells for column in self.columns), strict=True)]

    @property
    def folded(self) -> bool:
        return self.num_rows > _FOLDED


class _Shown(NamedTuple):
    file: str
    data: str  # the picture itself, as an address
    width: int
    height: int
    caption: str
    alt: str


class _Study(NamedTuple):
    name: str
    title: str
    question: str
    findings: list[str]
    pictures: list[_Shown]
    tables: list[_Table]
    made: list[tuple[str, str]]


def write_page(folder: Path) -> Path:
    """Write ``folder / index.html``, which shows what stands in the folders of studies beside it.

    Parameters
    ----------
    folder : Path
        Each folder in it that has a ``result.json`` is shown, whichever run wrote it.

    Returns
    -------
    Path
        The page. It holds its pictures, refers to CSV files beside it and to nothing else. Seconds and dates
        stand in it, so that no two runs agree on it.
    """
    from jinja2 import Environment, StrictUndefined

    found = [study for place in sorted(folder.iterdir()) if (study := _study(place)) is not None]
    order = list(_STUDIES)
    found.sort(key=lambda study: order.index(study.name) if study.name in order else len(order))
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    text = template.from_string(source).render(studies=found, most_rows=_MOST_ROWS)
    write_whole(folder / _NAME, lambda file: file.write(text.encode()))
    return folder / _NAME


def _study(place: Path) -> _Study | None:
    """What one study's folder holds; None of a folder that is none."""
    content = _result(place / "result.json")
    if content is None:
        return None
    timed = _result(place / "timings.json") or {}
    if timed.get("settings") != content["settings"]:  # of another run, which this one has no seconds for
        timed = {}
    name = str(content["study"])
    title, question = _STUDIES.get(name, (name, ""))
    captions = {**content.get("pictures", {}), **timed.get("pictures", {})}
    files = sorted(path.name for path in place.glob("*.png")) if "pictures" not in content else list(captions)
    pictures = [_picture(place / file, captions.get(file, {}), title) for file in files]
    tables = {**content["tables"], **timed.get("tables", {})}
    return _Study(
        name, title, question,
        [*content["findings"], *timed.get("findings", [])],
        [picture for picture in pictures if picture is not None],
        [_table(place, name, columns) for name, columns in tables.items()],
        _made(content, place / "result.json"),
    )  # fmt: skip


def _result(path: Path) -> dict[str, Any] | None:
    """What a study wrote to a JSON file; None where there is none, or another program's."""
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    kinds = {"study": str, "settings": dict, "findings": list, "tables": dict}
    own = isinstance(found, dict) and all(isinstance(found.get(name), kind) for name, kind in kinds.items())
    return found if own else None


def _picture(path: Path, words: dict[str, str], title: str) -> _Shown | None:
    """A PNG file with its words, which an older run did not write; None where the file has gone."""
    from PIL import Image

    if not path.is_file():
        return None
    content = path.read_bytes()
    width, height = Image.open(io.BytesIO(content)).size
    alt = words.get("alt") or words.get("caption") or f"{title}: {path.stem.replace('_', ' ')}"
    data = "data:image/png;base64," + base64.b64encode(content).decode()
    return _Shown(path.name, data, width, height, words.get("caption", ""), alt)


def _table(place: Path, name: str, columns: dict[str, list[Any]]) -> _Table:
    num_rows = len(next(iter(columns.values()), []))
    file = place / f"{name}.csv"
    address = f"{quote(place.name)}/{quote(file.name)}" if file.is_file() else ""
    shown = [
        _Column(title, _are_numbers(values), [_cell(value) for value in values[:_MOST_ROWS]])
        for title, values in columns.items()
    ]
    return _Table(name, address, shown, num_rows)


def _are_numbers(values: list[Any]) -> bool:
    known = [value for value in values if value is not None]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)


def _cell(value: Any) -> _Cell:
    """Six digits of a number. Infinities and NaN have come as None."""
    if value is None:
        return _Cell("\N{EN DASH}", "none, or not finite")
    if isinstance(value, bool):
        return _Cell("yes" if value else "no", "")
    text = (
        f"{value:.6g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    )
    full = repr(value) if isinstance(value, int | float) else text
    return _Cell(text, "" if text == full else full)


def _made(content: dict[str, Any], path: Path) -> list[tuple[str, str]]:
    """How a study was made: name and value of each line."""
    settings, versions = content["settings"], content.get("versions", {})
    changed = _changed(settings) if set(settings) == set(asdict(Settings())) else settings
    threads = f"{content['threads']} threads on {content['cores']} cores" if "threads" in content else ""
    date = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    rows = {
        "command": _command(content),
        "seed": str(settings.get("seed", "")),
        "settings that are not the defaults": _words(changed),
        "model and data": _words({k: v for k, v in content.get("source", {}).items() if k != "command"}),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "processor": ", ".join(part for part in (content.get("cpu", ""), threads) if part),
        "system": content.get("system", ""),
        "written": f"{date:%Y-%m-%d %H:%M} UTC",
    }
    return [(name, value) for name, value in rows.items() if value]


def _words(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)


def _plain(settings: Settings) -> dict[str, Any]:
    """Settings as they come back from JSON."""
    found: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
    return found


def _changed(settings: dict[str, Any]) -> dict[str, Any]:
    defaults = _plain(Settings())
    return {name: value for name, value in settings.items() if value != defaults[name] and name != "seed"}


def _command(content: dict[str, Any]) -> str:
    """The command line that computes this study again; nothing where options do not lead to its settings."""
    settings, source = content["settings"], content.get("source", {})
    if "command" in source:
        return str(source["command"])
    if content["study"] not in _STUDIES or set(settings) != set(asdict(Settings())):
        return ""
    for start, words in ((Settings(), []), (Settings.quick(), ["--quick"])):
        usual = _plain(start)
        changed = {name: value for name, value in settings.items() if value != usual[name]}
        if set(changed) <= set(OPTIONS):
            for name, value in changed.items():
                for item in value if isinstance(value, list) else [value]:
                    words += [OPTIONS[name], str(item)]
            which = [] if content["study"] == "model" else [content["study"]]  # which the default set holds
            own = [("--model", "model_file"), ("--data", "data_file"), ("--key", "key")]
            own += [("--threshold", "threshold"), ("--limit", "limit")]
            for option, name in own:
                if source.get(name) is not None:
                    words += [option, str(source[name])]
            return shlex.join(["fastvi", "study", *which, *words])
    return ""
