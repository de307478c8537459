"""Ottla beside Apache Kafka on this machine, interleaved, driven by the same librdkafka.

Prints medians, spreads and ratios; with --write also docs/benchmark.md and the table between the markers of README.md.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import generator
import machine
import report
from brokers import ROOT
from contestants import contestants
from scenarios import SCENARIOS


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "scenarios", nargs="*", help=f"{', '.join(f'{s.number} ({s.title})' for s in SCENARIOS)}; default all"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the load, one repetition: is it alive, not how fast is it"
    )
    parser.add_argument("--scale", type=float, help="share of the load")
    parser.add_argument("--repetitions", type=int, help="instead of each scenario's own; the first is thrown away")
    parser.add_argument("--kb", help="an upper-bound broker, started as PROGRAM PORT DIR relaxed|durable PARTITIONS")
    parser.add_argument("--only", help="contestants, separated by commas")
    parser.add_argument("--force", action="store_true", help="measure on a busy machine, keep disturbed repetitions")
    parser.add_argument("--dir", default=str(ROOT / "target/bench"), help="where the brokers keep their data")
    parser.add_argument("--add", action="store_true", help="keep what earlier runs measured of other scenarios")
    parser.add_argument("--write", action="store_true", help="write docs/benchmark.md and README.md")
    return parser.parse_args()


def measure(scenario, make, directory, scale, force, cache):
    """One repetition on a fresh broker; once more where others disturbed it."""
    for _ in range(3):
        if cache:
            cache.top_up()
        broker = make(tempfile.mkdtemp(dir=directory))
        try:
            broker.start()
            share = machine.Share()
            own = children_cpu() + broker.cpu_seconds()
            pid = broker.process.pid
            figures = scenario.run(broker, scale)
            lived = broker.cpu_seconds() if broker.process.pid == pid else None
            others = share.of_others(children_cpu() + lived - own) if lived is not None else 0
            if force or others <= machine.OTHERS_SHARE_MAX:
                return figures
            print(f"    others used {others:.0%} of the machine: once more", flush=True)
        finally:
            broker.discard()
    sys.exit("the machine does not stay quiet (--force measures all the same)")


def children_cpu():
    """This process and the generators that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def main():
    args = arguments()
    scale = args.scale or (0.1 if args.quick else 1)
    chosen = [s for s in SCENARIOS if not args.scenarios or s.number in args.scenarios]
    everyone = contestants(args.kb)
    if args.only:
        everyone = {label: everyone[label] for label in args.only.split(",")}
    generator.build()
    directory = Path(args.dir)
    directory.mkdir(parents=True, exist_ok=True)
    machine.wait_until_quiet(args.force or args.quick)
    cache = None if args.quick else machine.PageCache(directory)
    kept = directory / "results.json"
    results = json.loads(kept.read_text()) if args.add and kept.exists() else {}
    try:
        for scenario in chosen:
            results[scenario.number] = run(scenario, everyone, args, directory, scale, cache)
            print(f"\n## {scenario.number}. {scenario.title}\n\n{report.table(results[scenario.number])}\n", flush=True)
            kept.write_text(json.dumps(results, indent=1))
    finally:
        if cache:
            cache.remove()
    if args.write:
        write(results)


def run(scenario, everyone, args, directory, scale, cache):
    taking_part = {
        label: make for label, make in everyone.items() if scenario.with_limit or not label.startswith("limit")
    }
    repetitions = args.repetitions or (1 if args.quick else scenario.repetitions)
    seen = {label: {} for label in taking_part}
    for repetition in range(repetitions):
        # Another one begins each time: what a broker leaves behind, the next one feels.
        first = repetition % len(taking_part)
        order = [*taking_part][first:] + [*taking_part][:first]
        for label in order:
            began = time.monotonic()
            figures = measure(scenario, taking_part[label], directory, scale, args.force or args.quick, cache)
            print(
                f"  {scenario.number} {repetition + 1}/{repetitions} {label}: "
                + ", ".join(f"{k} {report.number(v)}" for k, v in figures.items())
                + f"  ({time.monotonic() - began:.0f} s)",
                flush=True,
            )
            if repetition or repetitions == 1:
                for figure, value in figures.items():
                    seen[label].setdefault(figure, []).append(value)
    return seen


def write(results):
    (ROOT / "docs/benchmark.md").write_text(report.document(machine.facts(), SCENARIOS, results))
    readme = ROOT / "README.md"
    if readme.exists():
        readme.write_text(report.replace_between_markers(readme.read_text(), report.short(results)))


if __name__ == "__main__":
    main()
