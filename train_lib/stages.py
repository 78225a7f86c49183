"""Runs that follow one another: each starts from the network that the last one left."""

import pathlib

from absl import logging

from reporting import stages as reporting
from train_lib import trainer
from train_lib.config import ConfigError, Recipe, flatten, load_recipe

PASSED = 0


def train(
    sources: list[str],
    overrides: dict[str, str],
    workdir: pathlib.Path,
    extend: str | None = None,
) -> int:
    """Trains stage after stage in `workdir/1-<recipe>`, `workdir/2-<recipe>`, ...

    A stage that does not pass ends it: what would go on from it has no ground to stand
    on. The same command goes on where it stopped; stages that are finished stay so.

    Args:
        sources: Recipes, in order.
        overrides: Fields to set in every stage that has them; "2.train.epochs" is of
            the second alone.
        workdir: Directory of all stages, and of the report on all.
        extend: As in `trainer.train`.

    Returns:
        The exit code of the last stage that ran.

    Raises:
        ConfigError: A recipe is at fault, or a field is in none of them.
    """
    folders = [
        workdir / f"{i}-{pathlib.Path(source.partition(':')[0]).stem}"
        for i, source in enumerate(sources, 1)
    ]
    recipes = _recipes(sources, overrides, folders)
    code = PASSED
    for i, (recipe, folder) in enumerate(zip(recipes, folders, strict=True)):
        logging.info("Stage %d of %d: %s", i + 1, len(recipes), folder)
        code = trainer.train(recipe, folder, extend)
        summary = reporting.write(workdir, folders[: i + 1])
        if code != PASSED:
            left = ", ".join(str(f) for f in folders[i + 1 :])
            if left:
                logging.info("Not begun, since this stage did not pass: %s", left)
            break
    logging.info("%s", summary["verdict"])
    logging.info("Report on all stages: %s", workdir / "report.html")
    return code


def _recipes(
    sources: list[str], overrides: dict[str, str], folders: list[pathlib.Path]
) -> list[Recipe]:
    """Recipes with their own overrides; each begins from the folder before."""
    known = [set(flatten(load_recipe(source, {}).config)) for source in sources]
    own = [dict[str, str]() for _ in sources]
    for name, text in overrides.items():
        number, _, field = name.partition(".")
        if number.isdigit():
            if not 1 <= int(number) <= len(sources):
                raise ConfigError(
                    [f"config.{name}: got stage {number}; expected 1 to {len(sources)}"]
                )
            own[int(number) - 1][field] = text
            continue
        # A field that no stage has is reported by the first.
        having = [i for i, fields in enumerate(known) if name in fields] or [0]
        for i in having:
            own[i].setdefault(name, text)
    for before, fields in zip(folders, own[1:], strict=False):
        fields["model.init_from"] = str(before)
    return [
        load_recipe(source, fields) for source, fields in zip(sources, own, strict=True)
    ]
