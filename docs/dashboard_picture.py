#!/usr/bin/env python3
"""Draws the Grafana dashboard from a Prometheus that scrapes an operator.

Every panel shows the answers of Prometheus to the queries in charts/imm-operator/files/dashboard.json, at the place and with
the title, unit and legend that the dashboard gives it. Colours and fonts are those of matplotlib, not of Grafana.

    docs/dashboard_picture.py http://127.0.0.1:9090 imm-system imm-operator START END docs/src/operate/dashboard.svg
"""

import json
import re
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "dashboard", "font.size": 7, "font.family": "sans-serif"})
import matplotlib.dates
import matplotlib.pyplot as plt

DASHBOARD = Path(__file__).parent.parent / "charts/imm-operator/files/dashboard.json"
PANELS = json.loads(DASHBOARD.read_text())["panels"]
ROWS = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in PANELS)
INCHES = 0.277  # Height of a grid line.
STEP = 15


def ask(server, path, **parameters):
    query = urllib.parse.urlencode(parameters)
    with urllib.request.urlopen(f"{server}/api/v1/{path}?{query}") as answer:
        return json.load(answer)["data"]["result"]


def legend(text, labels):
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), text)


def number(value, unit):
    if unit == "bytes":
        return f"{value / 2**20:.0f} MiB" if value > 2**20 else f"{value / 2**10:.1f} KiB"
    return f"{value:.1%}" if unit == "percentunit" else f"{value:.0f}"


def panel_axes(figure, place):
    width, across, down = 24, 0.012, 0.31 / ROWS
    left, bottom = place["x"] / width, 1 - (place["y"] + place["h"]) / ROWS
    box = [left + across * 4, bottom + down * 2.4, place["w"] / width - across * 5, place["h"] / ROWS - down * 6]
    return figure.add_axes(box)


def draw(axes, panel, span, ask_range, ask_instant):
    defaults = panel["fieldConfig"]["defaults"]
    unit = defaults.get("unit", "short")
    names = {key: option["text"] for mapping in defaults.get("mappings", []) for key, option in mapping["options"].items()}
    axes.set_title(panel["title"], fontsize=8, loc="left", fontweight="bold")
    if panel["type"] == "stat":
        axes.axis("off")
        for place, target in enumerate(panel["targets"]):
            found = ask_instant(target["expr"])
            value = names.get(found[0]["value"][1]) or number(float(found[0]["value"][1]), unit) if found else "No data"
            labels = found[0]["metric"] if found else {}
            across = (place + 0.5) / len(panel["targets"])
            axes.text(across, 0.55, value, fontsize=20, ha="center", va="center")
            axes.text(across, 0.2, legend(target.get("legendFormat", ""), labels), ha="center", va="center")
        return
    for target in panel["targets"]:
        for series in ask_range(target["expr"]):
            known = dict(series["values"])
            # A series that is absent for a while has a gap.
            first, last = min(known), max(known)
            points = [(at, float(known.get(at, "NaN"))) for at in range(int(first), int(last) + 1, STEP)]
            times = [at / 86400 for at, _ in points]  # Days since 1970, as matplotlib counts
            axes.plot(times, [value for _, value in points], linewidth=1, label=legend(target["legendFormat"], series["metric"]))
    axes.xaxis.set_major_formatter(matplotlib.dates.DateFormatter("%H:%M"))
    axes.xaxis.set_major_locator(matplotlib.dates.MinuteLocator(interval=2))
    axes.yaxis.set_major_formatter(lambda value, _: number(value, unit) if unit in ("percentunit", "bytes") else f"{value:g}")
    axes.set_xlim(*span)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.3)
    axes.grid(linewidth=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if count := len(axes.get_legend_handles_labels()[1]):
        axes.legend(fontsize=6 if count < 8 else 4, ncols=1 + count // 8, frameon=False, loc="upper left")


def main():
    server, namespace, job, start, end, output = sys.argv[1:]
    known = {"$namespace": namespace, "$job": job, "$__rate_interval": "4m", "$__range": f"{int(end) - int(start)}s"}

    def filled(query):
        for name, value in known.items():
            query = query.replace(name, value)
        return query

    def ask_range(query):
        return ask(server, "query_range", query=filled(query), start=start, end=end, step=STEP)

    def ask_instant(query):
        return ask(server, "query", query=filled(query), time=end)

    span = (int(start) / 86400, int(end) / 86400)
    figure = plt.figure(figsize=(12, INCHES * ROWS))
    for panel in PANELS:
        place = panel["gridPos"]
        if panel["type"] == "row":
            figure.text(0.005, 1 - (place["y"] + 0.85) / ROWS, panel["title"], fontsize=10)
            continue
        draw(panel_axes(figure, place), panel, span, ask_range, ask_instant)
    figure.savefig(output, metadata={"Date": None})


main()
