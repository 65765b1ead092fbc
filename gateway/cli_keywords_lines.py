"""What `gateway keywords …` prints where nobody asked for JSON."""

from collections.abc import Callable, Sequence
from typing import Any

from gateway.terminal import moment

SHOWN = 50
"""Rows of a long list of findings."""
TAKEN_UP = "A gateway that runs takes it up within seconds; one that does not, at its next start."


def _entry(record: dict[str, Any]) -> str:
    words = [
        str(record["id"]),
        record["term"],
        record["risk"],
        record["action"],
        record["match"],
        record["direction"],
        record.get("source") or "-",
    ]
    return "  ".join(words)


def _list(found: Sequence[dict[str, Any]]) -> str:
    return "\n".join(map(_entry, found)) or "no entries"


def _added(found: dict[str, Any]) -> str:
    lines = [_entry(found), *(f"warning: {warning}" for warning in found["warnings"])]
    hit = found["would_have_hit"]
    if hit is not None:
        lines.append(f"found in {hit['hit']} of {hit['texts']} harmless texts")
        lines += [f"  {sample['text']}" for sample in hit["samples"]]
    return "\n".join(lines)


KINDS = {
    "with_words": "with words",
    "blank": "blank",
    "comments": "comments",
    "header": "header",
    "continued": "that continue a record",
}
"""What each line of a file was: the counts add up."""
BECAME = ("added", "updated", "unchanged", "differing", "duplicates", "rejected")
"""What became of each word of a file, as REST calls it: the counts add up."""
ALWAYS = {"added", "updated", "unchanged"}


def _imported(found: dict[str, Any]) -> str:
    of_lines = found["lines"]
    kinds = [f"{of_lines[name]} {word}" for name, word in KINDS.items() if of_lines[name]]
    lines = [f"{of_lines['lines']} lines: {', '.join(kinds)}"]
    became = [f"{found[name]} {name}" for name in BECAME if found[name] or name in ALWAYS]
    lines.append(f"{found['words']} words: {', '.join(became)}")
    if found["differing"]:
        lines.append(f"{found['differing']} are there with other fields, which stay: --update takes those of the file")
    if found["not_raised"]:
        lines.append(
            f"{found['not_raised']} of them ask for a stronger action than they have: --keep-actions WHY grants it"
        )
    if found["headings"]:
        lines.append(f"rejected as headings, for the colon at their end: {found['headings']}")
    rows = found["rejected_rows"][:SHOWN]
    lines += [f"  {found['file']}:{row['line']}: {row['reason']}: {row['text']}" for row in rows]
    if found["rejected"] > len(rows):
        lines.append(f"  … and {found['rejected'] - len(rows)} more rejected")
    return "\n".join(lines)


def _removed(found: dict[str, Any]) -> str:
    if "id" in found:
        return f"entry {found['id']} is no longer in the draft"
    count = f"{found['entries']} entries of `{found['source']}`"
    if found["removed"]:
        return f"{count} are no longer in the draft"
    return f"{count} would leave the draft; --yes --why REASON removes them"


def _risks(found: Sequence[dict[str, Any]]) -> str:
    floors = ((risk, f"  at least {risk['floor']} entries" if risk["floor"] else "") for risk in found)
    return "\n".join(f"{risk['id']}  {risk['name']}{floor}" for risk, floor in floors)


def _version(record: dict[str, Any]) -> str:
    return f"{record['n']}  {moment(record['created_at'])}  {record['count']} entries  {record['note']}"


def _versions(found: dict[str, Any]) -> str:
    marks = {found["canary"]: "canary", found["live"]: "live"}
    lines = [f"{_version(record)}  {marks.get(record['n'], '')}".rstrip() for record in found["data"]]
    return "\n".join(lines) or "no versions"


def _released(found: dict[str, Any]) -> str:
    until = found["canary_until"]
    then = f", live from {moment(until)}" if until is not None else ""
    preposition = "to" if found["kind"] == "rollback" else "of"
    return f"{found['kind']} {preposition} version {found['n']}{then}. {TAKEN_UP}"


def _releases(found: Sequence[dict[str, Any]]) -> str:
    return "\n".join(map(_release, found)) or "no releases"


def _release(row: dict[str, Any]) -> str:
    live = f"live since {moment(row['live_at'])}" if row["live_at"] is not None else "not seen live"
    words = [row["kind"], f"version {row['n']}", row["made_by"], live, row["why"]]
    return "  ".join([str(row["number"]), moment(row["created_at"]), *words])


def _diff(found: Sequence[dict[str, Any]]) -> str:
    lines = [f"{row['change']}  {_entry(row['new'] or row['old'])}" for row in found]
    return "\n".join(lines) or "no differences"


def _test(found: dict[str, Any]) -> str:
    lines = [f"{found['decision']}: {found['why']}", f"squeezed: {found['squeezed']}", f"spaced: {found['spaced']}"]
    lines += [
        f"  {hit['start']}–{hit['end']}  {hit['term']}  {hit['risk']}  {hit['action']}  {hit['form']}"
        for hit in found["hits"]
    ]
    return "\n".join(lines)


ACTED = {
    "in": "acted on: {} ({:.2%}), those that would be refused (block) or sent to the judge (judge)",
    "out": "acted on: {} ({:.2%}), those that would be cut (block) or told to the judge (judge)",
}


def _impact(found: dict[str, Any]) -> str:
    decisions = ", ".join(f"{count} {name}" for name, count in found["decisions"].items())
    lines = [f"{found['texts']} texts: {decisions}", ACTED[found["direction"]].format(found["acted_on"], found["rate"])]
    if found["worst"]:
        lines.append("found most often (texts, term, risk, action):")
    lines += [f"  {row['texts']}  {row['term']}  {row['risk']}  {row['action']}" for row in found["worst"]]
    return "\n".join(lines)


LEFT_OUT = {
    "skipped": "entries were changed meanwhile: measure them again",
    "kept_measurements": "entries keep a measurement on more texts; --force WHY overrules that",
    "kept_actions": "entries keep their action: decided otherwise meanwhile, or this is on too few texts (--force WHY)",
    "decided": "entries keep what a person, or the starter words, chose: --include-decided has proposals for them",
}


FIGURES = {
    "harmless_blocked": "harmless blocked: {:.2%} of the texts that the calibration had not seen (means of its folds)",
    "harmless_judged": "harmless sent to the judge: {:.2%}",
    "inducing_blocked": "inducing blocked: {:.2%}",
    "inducing_reached": "inducing reached, blocked or sent to the judge: {:.2%}",
    "blocking": "entries that block: {:.0f}",
    "judging": "entries that judge: {:.0f}",
    "mined": "phrases among these that were mined: {:.0f}",
}
"""Of a cross-validation."""


def _calibrated(found: dict[str, Any]) -> str:
    if "proposals" not in found:  # cross-validation
        return "\n".join(FIGURES[name].format(value) for name in FIGURES for value in [found[name]])
    lines = [f"{found['entries']} entries on {found['texts']} texts; {found['hit_something']} hit something"]
    lines += (
        [f"  mined: {found['mined']} phrases, entered as `judge`: somebody should read them"] if found["mined"] else []
    )
    lines += [f"  {change}: {count}" for change, count in found["changes"].items()]
    shown = found["proposals"][:SHOWN]
    lines += [f"  {p['id']}  {p['term']}: {p['action']} → {p['proposed']}: {p['reason']}" for p in shown]
    if len(found["proposals"]) > SHOWN:
        lines.append(f"  … and {len(found['proposals']) - SHOWN} more (--json has all)")
    for name, meaning in LEFT_OUT.items():
        if found[name]:
            lines.append(f"  {found[name]} {meaning}")
    lines.append(
        "The draft has these actions now."
        if found["applied"]
        else "The measurements are stored, and no action was changed: --apply takes the proposals."
    )
    return "\n".join(lines)


def _changes(found: Sequence[dict[str, Any]]) -> str:
    return "\n".join(map(_change, found)) or "no changes"


def _change(row: dict[str, Any]) -> str:
    about = f"{row['entry']} {row['term']}" if row["entry"] is not None else f"{row['term']} {row['count']} entries"
    what = [
        f"{name}: {value[0]} → {value[1]}" if row["kind"] == "changed" else f"{name}: {value}"
        for name, value in row["fields"].items()
    ]
    words = [moment(row["at"]), row["made_by"] or "-", row["kind"], about.strip(), ", ".join(what), row["why"]]
    return "  ".join(filter(None, words))


LINES: dict[str, Callable[[Any], str]] = {
    "changes": _changes,
    "list": _list,
    "add": _added,
    "change": _entry,
    "remove": _removed,
    "import": _imported,
    "export": lambda found: f"{found['entries']} entries in {found['file']}",
    "freeze": _version,
    "versions": _versions,
    "publish": _released,
    "releases": _releases,
    "rollback": _released,
    "diff": _diff,
    "test": _test,
    "impact": _impact,
    "risks": _risks,
    "coverage": str.rstrip,
    "calibrate": _calibrated,
}
