"""All alarms there are: what the modules of `reporting/alarms/` register."""

import importlib
import pkgutil

from reporting import alarms
from reporting.alarms.common.rule import REGISTRY, Rule


def rules() -> dict[str, Rule]:
    """Return name to rule, ordered by module and place in it."""
    for module in pkgutil.iter_modules(alarms.__path__):
        if not module.ispkg:
            importlib.import_module(f"{alarms.__name__}.{module.name}")
    return dict(
        sorted(
            REGISTRY.items(),
            key=lambda item: (
                item[1].find.__module__,
                item[1].find.__code__.co_firstlineno,
            ),
        )
    )


def docs_table() -> str:
    """Return the alarms as a Markdown table: name, what it shows, limits, severity."""
    rows = ["| alarm | raised where | limits | by default |", "|---|---|---|---|"]
    for rule in rules().values():
        limits = ", ".join(f"`{k}={v:g}`" for k, v in rule.limits.items())
        rows.append(f"| `{rule.name}` | {rule.shows} | {limits} | {rule.severity} |")
    return "\n".join(rows)
