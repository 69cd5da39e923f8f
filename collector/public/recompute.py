"""Computes a published day again: recompute.py NODES.csv SERVERS.csv YYYY-MM-DD K.

The files are InfluxDB's CSV of `SELECT * FROM node_report` and `SELECT * FROM server_report`, from
30 days before the day on. Prints each row of the day's downloads, as the name of the download, the
texts and the count. The page /method gives the reasons.
"""

import csv
import json
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from datetime import date
from itertools import combinations

DAY, K = (date.fromisoformat(sys.argv[3]) - date(1970, 1, 1)).days, int(sys.argv[4])
KEYS = ("arch", "asl_version", "asterisk_version", "channel", "distro", "registration", "release")
CHANNELS = {name: {name} for name in ("dahdi", "simpleusb", "usbradio", "voter")}
REGISTERED = {"registered_http": {"http", "both"}, "registered_iax": {"iax", "both"}}
PARTS = {"channel": CHANNELS, "registration": REGISTERED | {"unregistered": {"none"}}}
LOOKS = str.maketrans("I1|O`", "lll0'")


def label(text):
    """Make a printable ASCII name; one that looks like a word of the tables is that word."""
    text = unicodedata.normalize("NFKC", text).replace("\\", "/")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())[:64].rstrip()
    text = re.sub("[^ -~]", "?", text) or "unknown"
    word = text.translate(LOOKS).lower().replace("0", "o")
    return {"all": "other", "other": "other", "unknown": word, "none": word}.get(word, text)


def alike(names, *rare):
    """Call names that look alike by the most frequent of them."""
    counts = Counter(names)
    ranked = sorted({*counts, *rare}, key=lambda name: (-counts[name], name), reverse=True)
    best = {name.translate(LOOKS): name for name in ranked}
    return {name: best[name.translate(LOOKS)] for name in ranked}


def read(path, unit):
    """Read the rows in order of time, and the last row of each unit on the day."""
    rows = [row for row in csv.DictReader(open(path)) if row.get("quarantine") in (None, "", "0")]
    for row in (rows := sorted(rows, key=lambda row: int(row["time"]))):
        row["ago"] = DAY - int(row["time"]) // 86_400_000_000_000
        row |= {key: label(row[key]) for key in KEYS if key in row}
        pair = [row["distro"], row["release"].replace(" ", "_")]
        row["release"] = "other" if "other" in pair else " ".join(pair[pair == ["unknown"] * 2 :])
    last = [*{row[unit]: row for row in rows if row["ago"] == 0}.values()]
    names = {key: alike(row[key] for row in last) for key in KEYS if last and key in last[0]}
    last = [row | {key: names[key][row[key]] for key in names} for row in last]
    return [row for row in rows if 0 <= row["ago"] <= 30], last


def safe(cells, rows, columns):
    """Find the cells (row, column) that can be shown with these totals of rows and columns."""
    shown = {c: n for c, n in cells.items() if n >= K and c[0] in rows and c[1] in columns}
    totals = {(0, row): n for row, n in rows.items()} | {(1, c): n for c, n in columns.items()}
    while True:
        hidden = Counter(totals)
        for cell, n in shown.items():
            hidden.subtract(dict.fromkeys(enumerate(cell), n))
        lines = {c: sum(0 < hidden[line] < K for line in enumerate(c)) for c in shown}
        if not any(lines.values()):
            return shown
        # Of the lines that have 1 to K-1 units hidden, the cheapest cell for each is hidden too.
        del shown[min((c for c in shown if lines[c]), key=lambda c: (shown[c] / lines[c], c))]


def tables(units, *keys):
    """Count by (key, within, within_value, value); what is not shown of a total is `other`."""
    units = [unit | {"all": "all"} for unit in units]
    pairs = [pair for pair in combinations(("all", *keys), 2) if pair != ("distro", "release")]
    out = defaultdict(dict, {("all", "all", "all"): {"all": len(units)}})
    for a, b in pairs:
        inner = "distro" if b == "release" and K > 1 else "all"
        rows = {(v, w): n for v in out[a, "all", "all"] for w, n in out[inner, a, v].items()}
        named = Counter(unit[b] for unit in units if unit[b] != "other" or K == 1)
        cells = Counter(((unit[a], unit[inner]), unit[b]) for unit in units)
        found = safe(cells, rows, named if a == "all" else out[b, "all", "all"])
        for ((v, _), w), n in found.items():
            out[b, a, v][w] = out[a, b, w][v] = n
    crossed = [(a, b) for pair in pairs for a, b in (pair, pair[::-1]) if b != "all"]
    totals = {(b, a, v): n for a, b in crossed for v, n in out[a, "all", "all"].items()}
    other = {(*table, "other"): n - sum(out[table].values()) for table, n in totals.items()}
    return Counter(other) + Counter({(*t, v): n for t in totals for v, n in out[t].items()})


(told, nodes), (reports, servers) = read(sys.argv[1], "node"), read(sys.argv[2], "server")
by_node = tables(nodes, *KEYS)
for row in servers:
    kernel = re.match(r"([1-9]\d?)\.(\d{1,3})(?!\d)", row.get("kernel") or "", re.ASCII)
    row["kernel"] = f"{kernel[1]}.{int(kernel[2])}" if kernel else "unknown"
    up = int(row.get("uptime") or -1)
    row["hours"] = up // 3600 if 0 <= up <= 10 * 365 * 86_400 else None
    length = "0-24h" if up < 86_400 else "24h-30d" if up < 30 * 86_400 else "30d+"
    row["uptime"] = "unknown" if row["hours"] is None else length
by_server = tables(servers, *(key for key in KEYS if key not in PARTS))
by_server |= tables(servers, "kernel") | tables(servers, "uptime")

daily = {f"{key}s": len({row[key] for row in nodes} - {"unknown"}) for key in KEYS[1:3]}
for unit, rows, last in (("server", reports, servers), ("node", told, nodes)):
    ages = [*{row[unit]: row["ago"] for row in rows}.values()]
    daily[f"{unit}s"] = len(last)
    daily |= {f"{unit}s_{n}d": sum(ago < n for ago in ages) for n in (7, 30)}
daily["reports"] = sum(row["ago"] == 0 for row in reports)
daily["node_reports"] = sum(row["ago"] == 0 for row in told)
daily["new_nodes"] = sum({row["node"]: row["ago"] == 0 for row in told[::-1]}.values())
daily["lapsed_nodes"] = ages.count(30)
hours = sorted(row["hours"] for row in servers if row["hours"] is not None)
daily |= {"uptime_median": hours[(len(hours) - 1) // 2]} if len(hours) >= K else {}
for key, fields in PARTS.items():
    exact, named = {row[key] for row in nodes}, set().union(*fields.values())
    shown = {t[3]: n for t, n in by_node.items() if t[:2] == (key, "all") and t[3] != "other"}
    absent, hidden = len(exact & named - shown.keys()), len(nodes) - sum(shown.values())
    if not 0 < hidden < K + max(absent, 1) - 1:
        shown |= dict.fromkeys(named - exact, 0)
    daily |= {f: sum(shown[v] for v in vs) for f, vs in fields.items() if vs <= shown.keys()}
daily["other_channels"] = len(nodes) - sum(daily.get(name, 0) for name in CHANNELS)

packages = {}
sets = [json.loads(row["packages"] or "{}") for row in servers]
sets = [{label(p): label(v) for p, v in sorted(each.items()) if v} for each in sets]
names = alike(package for each in sets for package in each)
sets = [{names[p]: version for p, version in each.items()} for each in sets]
for package in {*names.values()}:
    versions = alike(each[package] for each in sets if package in each) | {"none": "other"}
    units = [versions[each[package]] if package in each else "none" for each in sets]
    counts = {t[3]: n for t, n in tables([{"version": v} for v in units], "version").items()}
    if len(units) - units.count("none") >= K and counts.keys() - {"none", "other"}:
        packages |= {(package, version): n for version, n in counts.items()}

moves, said = set(), defaultdict(list)
for row in told:
    had, new = said[row["node"]], row["asl_version"]
    if row["ago"] == 0 and had and new not in had and "unknown" not in (had[-1], new):
        moves.add((row["node"], had[-1], new))
    had.append(new)
last = {row["node"]: row["asl_version"] for row in told if row["ago"] == 0}
names = alike(last.values(), *(version for _, *pair in moves for version in pair))
moves = {(node, names[a], names[b]) for node, a, b in moves if names[a] != names[b]}
counts = tables([{"move": (a, b)} for _, a, b in moves], "move") if len(moves) >= K else {}
upgrades = {("other", "other") if t[3] == "other" else t[3]: n for t, n in counts.items()}

downloads = {"daily": {(name,): n for name, n in daily.items()}, "daily/nodes": by_node}
downloads |= {"daily/servers": by_server, "daily/packages": packages, "upgrades": upgrades}
out = csv.writer(sys.stdout, lineterminator="\n")
for name, rows in downloads.items():
    out.writerows([name, *texts, n] for texts, n in rows.items())
