#!/usr/bin/env python3
"""Draws the first two rows of the Grafana dashboard from a Prometheus that scrapes an operator.

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
ROWS = 26  # Grid lines of the rows Fleet, and Jobs and cost.
STEP = 10


def ask(server, path, **parameters):
    query = urllib.parse.urlencode(parameters)
    with urllib.request.urlopen(f"{server}/api/v1/{path}?{query}") as answer:
        return json.load(answer)["data"]["result"]


def legend(text, labels):
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), text)


def number(value, unit):
    return f"{value:.1%}" if unit == "percentunit" else f"{value:.0f}"


def panel_axes(figure, place):
    width, height, gap = 24, ROWS, 0.012
    left, bottom = place["x"] / width, 1 - (place["y"] + place["h"]) / height
    box = [left + gap * 3, bottom + gap * 2.4, place["w"] / width - gap * 4, place["h"] / height - gap * 6]
    return figure.add_axes(box)


def draw(axes, panel, span, ask_range, ask_instant):
    unit = panel["fieldConfig"]["defaults"].get("unit", "short")
    axes.set_title(panel["title"], fontsize=8, loc="left", fontweight="bold")
    if panel["type"] == "stat":
        axes.axis("off")
        for place, target in enumerate(panel["targets"]):
            found = ask_instant(target["expr"])
            value = number(float(found[0]["value"][1]), unit) if found else "No data"
            across = (place + 0.5) / len(panel["targets"])
            axes.text(across, 0.55, value, fontsize=20, ha="center", va="center")
            axes.text(across, 0.2, legend(target.get("legendFormat", ""), {}), ha="center", va="center")
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
    axes.yaxis.set_major_formatter(lambda value, _: number(value, unit) if unit == "percentunit" else f"{value:g}")
    axes.set_xlim(*span)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.3)
    axes.grid(linewidth=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=6, frameon=False, loc="upper left")


def main():
    server, namespace, job, start, end, output = sys.argv[1:]
    known = {"$namespace": namespace, "$job": job, "$__rate_interval": "1m", "$__range": f"{int(end) - int(start)}s"}

    def filled(query):
        for name, value in known.items():
            query = query.replace(name, value)
        return query

    def ask_range(query):
        return ask(server, "query_range", query=filled(query), start=start, end=end, step=STEP)

    def ask_instant(query):
        return ask(server, "query", query=filled(query), time=end)

    span = (int(start) / 86400, int(end) / 86400)
    panels = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["gridPos"]["y"] < ROWS]
    figure = plt.figure(figsize=(12, 7.2))
    for panel in panels:
        place = panel["gridPos"]
        if panel["type"] == "row":
            figure.text(0.005, 1 - (place["y"] + 0.85) / ROWS, panel["title"], fontsize=10)
            continue
        draw(panel_axes(figure, place), panel, span, ask_range, ask_instant)
    figure.savefig(output, metadata={"Date": None})


main()
