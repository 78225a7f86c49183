"""What a report says of the data: labels, what they can teach, the split."""

from collections.abc import Mapping

from reporting.formatting import ABSENT, count, interval, number, percent, plural
from reporting.page.parts import Section, Table

ENCODERS = {
    "pixels": "raw pixels",
    "untrained": "the untrained network",
    "start": "what the run started from",
}
_SIDES = {"train": "training", "validation": "held out"}


def tell_audit(audit: Mapping) -> str:
    """Return a sentence on what labels can teach, for the log."""
    nearer = " and ".join(
        f"{percent(entry['value'])} by {ENCODERS.get(name, name)}"
        for name, entry in audit["nearer"].items()
    )
    sentence = f"Labels: a positive is nearer than another record in {nearer or ABSENT}"
    if lowest := audit.get("lowest"):
        sentence += (
            f"; shared codes leave {number(lowest['soft'])} of "
            f"{number(lowest['chance'])} nats open, {percent(lowest['share'])} of "
            "chance"
        )
    return sentence


def tell_split(data: Mapping) -> str:
    """Return a sentence on the split, from the facts of `data.json`."""
    leaks, repeats = data["leaks"], data["repeats"]
    if not leaks["grouped_by"]:
        return "The two sides hold the same things on purpose; no leak was looked for."
    findings = [f"{plural(leaks['groups'], 'group')} by {leaks['grouped_by']}"]
    findings += [plural(leaks["ids"], "id")]
    if leaks["windows"] is not None:
        findings += [f"{percent(leaks['windows'])} of the windows overlapping"]
    trained, held = leaks["content_looked_at"]
    findings += [
        f"{percent(leaks['content'])} of {count(held)} records held out equal to one "
        f"of {count(trained)} trained on"
    ]
    return (
        f"On both sides of the split: {', '.join(findings)}. Of "
        f"{count(repeats['looked_at'])} records compared, "
        f"{percent(repeats['share'])} equal another."
    )


def about_labels(audit: Mapping, data: Mapping) -> list[Section]:
    """Return a section on labels, and on what positives made from them can teach.

    Args:
        audit: `label_audit.json`, {} where views are positives.
        data: `data.json`.

    Returns:
        One section, or none where nothing is known of labels.
    """
    sides = data.get("labeling") or {}
    labeled = any(s["labeled"] or s["coded"] for s in sides.values())
    if not labeled and not audit:
        return []
    section = Section("Labels")
    if labeled:
        section.tables.append(_labeling(sides))
    if audit:
        _audited(section, audit)
    return [section]


def without_told(data: Mapping) -> dict:
    """Return the facts of `data.json` that no sentence and no section states."""
    elsewhere = ("labeling", "leaks", "repeats", "changes", "ranges", "implies")
    return {name: value for name, value in data.items() if name not in elsewhere}


def about_split(data: Mapping) -> list[str]:
    """Return sentences on the split, and on what the data did not allow."""
    split = [tell_split(data)] if "leaks" in data and "repeats" in data else []
    return split + list(data.get("changes") or [])


def _labeling(sides: Mapping[str, Mapping]) -> Table:
    rows = [
        [
            _SIDES.get(name, name),
            count(side["records"]),
            count(side["classes"]),
            percent(side["labeled"]),
            percent(side["with_another_of_the_label"]),
            count(side["codes"]),
            percent(side["coded"]),
            percent(side["with_another_of_a_code"]),
        ]
        for name, side in sides.items()
    ]
    header = ["side", "records", "classes", "labeled", "with another of the label"]
    header += ["codes", "coded", "with another of a code"]
    return Table(header, rows)


def _audited(section: Section, audit: Mapping) -> None:
    kind = {"codes": "a shared code", "label": "the same label"}[audit["positives"]]
    section.text.append(
        f"Positives were made from {kind}; this is what "
        f"{count(audit['pairs'])} drawn pairs showed before the first step. "
        f"{percent(audit['alone'])} of the records have no partner."
    )
    rows = [
        [
            f"by {ENCODERS.get(name, name)}",
            percent(entry["value"]),
            interval(100 * entry["low"], 100 * entry["high"]),
            count(entry["n"]),
            number(entry["positive"]),
            number(entry["random"]),
        ]
        for name, entry in audit["nearer"].items()
    ]
    header = ["positive nearer than another record", "share (chance 50 %)"]
    header += ["95 % interval", "n", "cosine of positives", "of random pairs"]
    section.tables.append(Table(header, rows))
    if lowest := audit.get("lowest"):
        section.text += [_lowest(audit, lowest), _common(audit["common"])]


def _lowest(audit: Mapping, lowest: Mapping) -> str:
    critic = ""
    if "density_ratio" in lowest:  # not in a run of an earlier version
        loss = number(lowest["density_ratio"])
        critic = (
            ": whoever knows them and nothing else recognizes one positive to "
            f"{loss} nats"
        )
    return (
        f"Lowest loss: codes say {number(lowest['information'])} of "
        f"{number(lowest['chance'])} nats about which of {count(lowest['candidates'])} "
        f"candidates a record's partner is{critic}. The loss weighs all that share "
        f"a code and cannot fall below {number(lowest['soft'])} nats, "
        f"{number(audit['loss_lower_bound'])} in its own unit (chance "
        f"{number(audit['loss_chance'])}): {percent(lowest['share'])} of chance."
    )


def _common(common: Mapping) -> str:
    sentence = (
        f"{percent(common['value'])} of the pairs share only codes that more than "
        f"{percent(common['above'])} of the records carry."
    )
    if common["codes"]:
        named = ", ".join(
            f"{code['name']} ({percent(code['pairs'])})" for code in common["codes"]
        )
        sentence += f" Common codes by the share of pairs that have them: {named}."
    return sentence
