"""Verbs of names and methods: list, new, check, speed."""

import argparse
import json
import logging
import shlex
import sys
from pathlib import Path

from benchmark.verbs.parsing import (
    CHECK_SAYS_NO,
    DONE,
    Verbs,
    declared,
    print_table,
    quiet_lightning,
)

KINDS = ("methods", "data", "protocols", "experiments")


def add_list(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Declares ``bench list``."""
    parser = declared(verbs, "list", _list, "print registered names")
    parser.add_argument("kind", nargs="?", choices=KINDS, help="all of them if not given")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _list(options: argparse.Namespace) -> int:
    found = {kind: _names(kind) for kind in ([options.kind] if options.kind else KINDS)}
    if options.json:
        objects = {kind: [{"name": name, "summary": summary} for name, summary in rows]
                   for kind, rows in found.items()}  # fmt: skip
        print(json.dumps(objects[options.kind] if options.kind else objects))
        return DONE
    for kind, rows in found.items():
        width = max(len(name) for name, _ in rows)
        if not options.kind:
            print(f"{kind}:")
        for name, summary in rows:
            print(f"{name:<{width}}  {summary}")
    return DONE


def _names(kind: str) -> list[tuple[str, str]]:
    """Name and summary of everything of a kind; loads nothing heavy."""
    if kind == "protocols":
        from metrics.protocols import PROTOCOLS

        return [(name, protocol.summary) for name, protocol in PROTOCOLS.items()]
    if kind == "experiments":
        from benchmark.experiment_list import listed_experiments

        return [(one.name, f"{one.table} of {one.source}") for one in listed_experiments()]
    from benchmark.registry import DATA_REGISTRY, METHOD_REGISTRY

    registry = METHOD_REGISTRY if kind == "methods" else DATA_REGISTRY
    return [(entry.name, entry.summary) for entry in registry.names().values()]


def add_new(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Declares ``bench new``."""
    summary = "write a starting file: a method in a package of its own, which runs as it stands"
    parser = declared(verbs, "new", _new, summary)
    parser.add_argument("kind", choices=("method",))
    parser.add_argument("name", metavar="NAME", help="of the method, such as my_method")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to make; ./NAME")


def _new(options: argparse.Namespace) -> int:
    from benchmark.starting import write_method

    folder = options.out or Path(options.name)
    for path in write_method(options.name, folder):
        print(path)
    print(f"Install it:  uv pip install -e {shlex.quote(str(folder))}")
    print(f"Check it:    bench check --method {options.name}")
    print(f"Run it:      bench run --method {options.name} --data synthetic")
    return DONE


def add_check(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Declares ``bench check``."""
    summary = "say whether a method keeps the contract, in seconds and without data"
    parser = declared(verbs, "check", _check, summary, takes_settings=True)
    parser.add_argument("--method", required=True, metavar="M", help="see bench list methods")
    parser.add_argument("--json", action="store_true", help="print JSON on standard output")


def _check(options: argparse.Namespace) -> int:
    from benchmark.check import finding_lines, subject_of, verdict

    quiet_lightning()
    logging.getLogger().setLevel(logging.WARNING)  # its runs are nobody's
    found = []
    for finding in verdict(subject_of(options.method, options.overrides)):
        found.append(finding)
        if not options.json:
            print("\n".join(finding_lines(finding)), flush=True)
    broken = [each for each in found if each.fault is not None and not each.advice]
    if options.json:
        checks = [{**each._asdict(), "kept": each.fault is None} for each in found]
        print(json.dumps({"method": options.method, "kept": not broken, "checks": checks}))
    elif broken:
        print(f"{options.method} breaks {len(broken)} of {len(found)} rules.")
    else:
        print(f"{options.method} keeps the contract.")
    return CHECK_SAYS_NO if broken else DONE


def add_speed(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Declares ``bench speed``."""
    from benchmark.speed import STAGES

    listed = "; ".join(f"{name}: {summary}" for name, summary in STAGES.items())
    summary = "measure rates and ratios against the field's own ways, in one run"
    parser = declared(verbs, "speed", _speed, summary)
    add = parser.add_argument
    add("stages", nargs="*", metavar="STAGE", help=f"all where none is named. {listed}")
    add("--check", action="store_true", help="exit 1 when a target is missed")
    add("--quick", action="store_true", help="few samples; targets are not judged")
    add("--device", choices=("cpu", "cuda"), help="of the batched path; a GPU where there is one")
    add("--annotations", type=Path, metavar="F", help="a real vggss.json in place of made-up boxes")
    add("--method", action="append", default=[], metavar="M", help="whose steps the stage step "
        "takes; may be given several times; on a CPU two that are quick if not given")  # fmt: skip
    add("--json", action="store_true", help="print JSON on standard output")


def _speed(options: argparse.Namespace) -> int:
    from benchmark.speed.harness import Setting, run_stages
    from benchmark.speed.table import speed_tables

    quiet_lightning()
    setting = Setting(quick=options.quick, device=options.device, annotations=options.annotations,
                      methods=tuple(options.method))  # fmt: skip
    report = run_stages(options.stages, setting)
    if options.json:
        print(json.dumps(report.to_dict(), sort_keys=True))
    else:
        print_table(speed_tables(report))
    complaints = report.complaints(check=options.check)
    for complaint in complaints:
        print(f"bench: {complaint}", file=sys.stderr)
    return CHECK_SAYS_NO if complaints else DONE
