"""Medians, spreads and ratios as Markdown."""

import datetime
from statistics import median

from scenarios import MORE_IS_BETTER

RATIOS = [
    ("Ottla", "Kafka"),
    ("Ottla", "Kafka flush=1"),
    ("Ottla relaxed", "Kafka"),
    ("Ottla", "limit durable"),
    ("Ottla relaxed", "limit relaxed"),
]
BEGIN, END = "<!-- benchmark: written by ci/bench/run -->", "<!-- end of benchmark -->"


def number(value):
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(values):
    if len(values) == 1:
        return number(values[0])
    return f"{number(median(values))} [{number(min(values))}-{number(max(values))}]"


def ratio(figure, ours, theirs):
    """How many times better ours is."""
    first, second = median(ours), median(theirs)
    if figure not in MORE_IS_BETTER:
        first, second = second, first
    return f"{number(first / second)}x" if second else "-"


def table(results):
    """`results`: contestant -> figure -> values of the repetitions."""
    labels = list(results)
    pairs = [(ours, theirs) for ours, theirs in RATIOS if ours in results and theirs in results]
    head = ["", *labels, *(f"{ours} / {theirs}" for ours, theirs in pairs)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for figure in results[labels[0]]:
        cells = [figure, *(spread(results[label][figure]) for label in labels)]
        for ours, theirs in pairs:
            cells.append(ratio(figure, results[ours][figure], results[theirs][figure]))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def document(facts, scenarios, results):
    today = datetime.date.today().isoformat()
    parts = [
        "# Benchmark\n",
        f"Measured on {today} by `ci/bench/run`: {', '.join(f'{name} {value}' for name, value in facts.items())}; Apache Kafka 4.4.0 with a "
        "1 GB heap, as it ships and with `log.flush.interval.messages=1`; Ottla durable (its default) and relaxed.\n",
        "Both brokers in turn on the same machine, driven by the same librdkafka. Median [least-most] of the repetitions after the first. "
        "A ratio above 1x is better for Ottla.\n",
    ]
    for scenario in scenarios:
        if scenario.number in results:
            parts += [f"## {scenario.number}. {scenario.title}\n", table(results[scenario.number]) + "\n"]
    return "\n".join(parts)


SHORT = [
    ("1", "CPU-s/GB", "Produce 1 KB: broker CPU, s/GB"),
    ("1", "MB/s", "Produce 1 KB: MB/s"),
    ("2", "CPU-s/M msg", "Produce 100 B: broker CPU, s per M"),
    ("3", "requests/s", "One record a request, 16 producers: requests/s"),
    ("3", "CPU us/request", "the same: broker CPU, us a request"),
    ("4", "CPU-s/GB", "Catch-up read: broker CPU, s/GB"),
    ("5", "p50 ms", "End to end: p50, ms"),
    ("5", "p99 ms", "End to end: p99, ms"),
    ("6", "first records s", "First records into 1000 new partitions, s"),
    ("8", "at rest MiB", "Memory at rest, MiB"),
    ("8", "start ms", "Start to first answer, ms"),
    ("9", "to first answer ms", "Restart after kill -9 with 10 GB, ms"),
]
SHORT_LABELS = ["Ottla", "Kafka", "Kafka flush=1"]


def cell(result, label, figure):
    return number(median(result[label][figure])) if label in result else "-"


def short(results):
    """The part of README."""
    rows = [
        (title, figure, results[n])
        for n, figure, title in SHORT
        if n in results
    ]
    lines = ["| | Ottla, durable | Kafka as it ships | Kafka, durable |", "|---|---|---|---|"]
    for title, figure, result in rows:
        lines.append(
            "| " + " | ".join([title, *(cell(result, label, figure) for label in SHORT_LABELS)]) + " |"
        )
    return (
        f"Measured on {datetime.date.today().isoformat()}; all of it in [docs/benchmark.md](docs/benchmark.md).\n\n"
        + "\n".join(lines)
    )


def replace_between_markers(text, new):
    before, marker, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{BEGIN}\n{new}\n{END}{after}" if marker and end else text
