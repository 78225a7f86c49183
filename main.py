"""Akin: train and evaluate embeddings, and find neighbors.

python main.py --config=configs/moco_effnet.py --workdir=runs/x     train (the default)
python main.py --config=A.py --config=B.py --workdir=runs/x         B goes on from A
python main.py status|report --workdir=runs/x
python main.py compare --workdir=runs/x --with=runs/y [--with=runs/z] [--output=DIR]
python main.py embed --workdir=runs/x --input=DIR --output=emb/
python main.py search --workdir=runs/x --query=logo.png --top=10 [--json]
python main.py check --config=configs/moco_effnet.py [--output=DIR]
python main.py preview --config=configs/moco_effnet.py --output=DIR
"""

import argparse
import json
import logging
import os
import pathlib
import sys
import traceback
from typing import Any

from train_lib import argument_types, signals

EXIT_INTERNAL, EXIT_INPUT = 1, 2


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        """Exit with the code for wrong input."""
        self.print_usage(sys.stderr)
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(EXIT_INPUT)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="main.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    workdir = _Parser(add_help=False)
    workdir.add_argument("--workdir", required=True, help="directory of the run")
    config = _Parser(add_help=False)
    config.add_argument("--config", required=True, help="configs/x.py[:variant]")

    train = commands.add_parser("train", parents=[workdir], help="the default")
    train.add_argument(
        "--config",
        required=True,
        action="append",
        help="configs/x.py[:variant]; each further one goes on from the one before",
    )
    train.add_argument("--extend", choices=("rescale", "continue", "restart"))
    status = commands.add_parser("status", parents=[workdir], help="alive? where?")
    status.add_argument("--json", action="store_true")
    commands.add_parser("report", parents=[workdir], help="write the report again")
    compare = commands.add_parser("compare", parents=[workdir], help="side by side")
    compare.add_argument(
        "--with", required=True, action="append", dest="others", help="another run"
    )
    compare.add_argument("--json", action="store_true")
    compare.add_argument(
        "--output", default="", help="directory for compare.md, .html and curves"
    )
    embed = commands.add_parser("embed", parents=[workdir], help="npy + parquet")
    embed.add_argument("--input", required=True, help="directory of images or scans")
    embed.add_argument("--output", required=True, help="directory to write")
    embed.add_argument(
        "--view", default="", choices=("", "view1", "view2"), help="else as they are"
    )
    embed.add_argument(
        "--overwrite", action="store_true", help="also files of another program"
    )
    search = commands.add_parser("search", parents=[workdir], help="nearest records")
    search.add_argument(
        "--query", required=True, help="a file like those trained on, or id:N of these"
    )
    search.add_argument(
        "--top", type=argument_types.count, default=10, help="records to show"
    )
    search.add_argument(
        "--gallery", default="", help="--output of embed; else own data"
    )
    search.add_argument("--json", action="store_true")
    search.add_argument(
        "--output", default="", help="directory for the image of results; else cache"
    )
    for command in (embed, search):
        command.add_argument(
            "--checkpoint",
            type=argument_types.checkpoint,
            default="latest",
            help="latest|best|STEP",
        )
    check = commands.add_parser(
        "check", parents=[config], help="faults, data, memory and time; no training"
    )
    check.add_argument("--output", default="check", help="directory for sheets")
    check.add_argument(
        "--count", type=argument_types.count, default=12, help="records to show"
    )
    preview = commands.add_parser("preview", parents=[config], help="views on paper")
    preview.add_argument("--output", required=True, help="directory to write")
    preview.add_argument(
        "--count", type=argument_types.count, default=12, help="records to show"
    )
    return parser


def parse(argv: list[str]) -> tuple[argparse.Namespace, dict[str, str]]:
    """Return arguments, and fields of the config that they set, by name."""
    commands = ("train", "status", "report", "compare", "embed", "search", "check",
                "preview")  # fmt: skip
    parser = _parser()
    if argv and not argv[0].startswith("-") and argv[0] not in commands:
        from field_types import nearest

        parser.error(
            f"got command {argv[0]!r}; choices: {', '.join(commands)}"
            f"{nearest(argv[0], commands)}"
        )
    if not argv or argv[0] not in (*commands, "-h", "--help"):
        argv = ["train", *argv]
    arguments, rest = parser.parse_known_args(argv)
    overrides = {}
    for word in rest:
        name, equals, value = word.partition("=")
        if name.startswith("--config."):
            overrides[name.removeprefix("--config.")] = value if equals else "True"
        elif name.startswith("--noconfig."):
            overrides[name.removeprefix("--noconfig.")] = "False"
        elif equals and not name.startswith("-"):
            parser.error(f"got {word}; fields are set as --config.{word}")
        else:
            parser.error(f"got {word}, which {arguments.command} does not know")
    if overrides and arguments.command not in ("train", "check", "preview"):
        parser.error(f"{arguments.command} reads the config of the workdir")
    if fault := argument_types.find_address(arguments, overrides):
        parser.error(fault)
    return arguments, overrides


def _ours_or_warning(record: logging.LogRecord) -> bool:
    """Return whether a record is ours or a warning; libraries log much at INFO."""
    ours = record.pathname.startswith(str(pathlib.Path(__file__).resolve().parent))
    theirs = "site-packages" in record.pathname  # an environment may lie in our folder
    return record.levelno >= logging.WARNING or (ours and not theirs)


def _set_up_logging() -> None:
    from absl import logging as absl_logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    handler.addFilter(_ours_or_warning)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    absl_logging.set_verbosity(absl_logging.INFO)


def _prepare_jax() -> None:
    """Make the settings that must precede the start of jax."""
    from train_lib import allocator

    # TensorFlow writes event files and no more; it need not tell how it computes.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    allocator.keep_large_buffers()
    import jax

    from input_pipeline.cache.root import cache_root

    jax.config.update("jax_compilation_cache_dir", str(cache_root() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)


def _train(arguments: argparse.Namespace, overrides: dict[str, str]) -> int:
    _prepare_jax()
    from train_lib import stages, trainer

    workdir = pathlib.Path(arguments.workdir)
    train = stages.train if len(arguments.config) > 1 else stages.train_recipe
    return train(
        arguments.config,
        overrides,
        workdir,
        trainer.train,
        arguments.extend,
        **arguments.options,
    )


def _status(arguments: argparse.Namespace, _) -> int:
    from reporting import status
    from reporting.files import plain

    if arguments.json:
        print(json.dumps(plain(status.describe(arguments.workdir)), indent=2))
    else:
        print(status.status(arguments.workdir))
    return 0


def _report(arguments: argparse.Namespace, _) -> int:
    from reporting import report

    summary = report.write(arguments.workdir)
    print(summary["verdict"])
    return report.exit_code(summary)


def _compare(arguments: argparse.Namespace, _) -> int:
    from reporting import compare
    from reporting.files import plain
    from reporting.page import comparison as comparison_page

    folders = [arguments.workdir, *arguments.others]
    comparison = compare.compare(folders)
    if arguments.output:
        comparison_page.write(folders, comparison, arguments.output)
    text = json.dumps(plain(comparison), indent=2) if arguments.json else None
    print(text or compare.table(comparison))
    return 0


def _embed(arguments: argparse.Namespace, _) -> int:
    _prepare_jax()
    from train_lib import inference

    network = inference.restore(
        arguments.workdir, arguments.checkpoint, **arguments.options
    )
    where = arguments.input, arguments.output, arguments.view
    print(inference.embed_folder(network, *where, overwrite=arguments.overwrite))
    return 0


def _search(arguments: argparse.Namespace, _) -> int:
    _prepare_jax()
    from train_lib import inference

    network = inference.restore(
        arguments.workdir, arguments.checkpoint, **arguments.options
    )
    print(
        inference.search(
            network,
            arguments.query,
            top=arguments.top,
            gallery=arguments.gallery,
            as_json=arguments.json,
            output=arguments.output,
        )
    )
    return 0


def _check(arguments: argparse.Namespace, overrides: dict[str, str]) -> int:
    _prepare_jax()
    from train_lib import check
    from train_lib.config import load_recipe

    recipe = load_recipe(arguments.config, overrides)
    output = pathlib.Path(arguments.output)
    print(check.check(recipe, output, arguments.count, **arguments.options))
    return 0


def _preview(arguments: argparse.Namespace, overrides: dict[str, str]) -> int:
    _prepare_jax()
    from train_lib import preview
    from train_lib.config import load_recipe

    recipe = load_recipe(arguments.config, overrides)
    print(preview.write(recipe, pathlib.Path(arguments.output), arguments.count))
    return 0


def main(argv: list[str], build: Any = None) -> int:
    """Run a command; return its exit code (docs/design.md).

    Args:
        argv: Words of the command line.
        build: Function from a config to an `Experiment`, for programs with parts of
            their own; by default the parts that the config names.
    """
    arguments, overrides = parse(argv)
    arguments.options = {} if build is None else {"build": build}
    _set_up_logging()
    commands = {
        "train": _train,
        "status": _status,
        "report": _report,
        "compare": _compare,
        "embed": _embed,
        "search": _search,
        "check": _check,
        "preview": _preview,
    }
    with signals.StopSignal.get():
        try:
            return commands[arguments.command](arguments, overrides)
        except BrokenPipeError:  # `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except Exception as error:
            return _tell_fault(arguments, error)


def _tell_fault(arguments: argparse.Namespace, error: Exception) -> int:
    """Print what was wrong; return the exit code."""
    from input_pipeline.cache.root import cache_root
    from train_lib import refusals
    from train_lib.errors import describe_fault

    written = [getattr(arguments, name, "") for name in ("workdir", "output")]
    folders = [folder for folder in (*written, str(cache_root())) if folder]
    fault = describe_fault(error, folders)
    if fault is None:
        traceback.print_exc()
        return EXIT_INTERNAL
    print(f"main.py: {fault}", file=sys.stderr)
    if arguments.command == "train":
        refusals.note(arguments.workdir, fault, error)
    return EXIT_INPUT


if __name__ == "__main__":
    with signals.StopSignal():
        code = main(sys.argv[1:])
        signals.ignore()
        sys.exit(code)
