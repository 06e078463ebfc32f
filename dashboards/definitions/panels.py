"""Panels, variables and annotations in Grafana's form, with the settings that all share."""

DATASOURCE = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}

GREEN, YELLOW, RED, BLUE = "green", "yellow", "red", "blue"


class Board:
    """Places panels from left to right, row by row, and gives them ids."""

    WIDTH = 24

    def __init__(self) -> None:
        self.panels: list[dict] = []
        self.x = self.y = self.height = 0

    def row(self, title: str) -> None:
        self._next_line()
        place = {"h": 1, "w": self.WIDTH, "x": 0, "y": self.y}
        self.panels.append(
            {"id": self._id(), "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
        )
        self.y += 1

    def add(self, panel: dict, width: int = 8, height: int = 8) -> None:
        if self.x + width > self.WIDTH:
            self._next_line()
        place = {"h": height, "w": width, "x": self.x, "y": self.y}
        self.panels.append({"id": self._id(), **panel, "gridPos": place})
        self.x += width
        self.height = max(self.height, height)

    def _id(self) -> int:
        return len(self.panels) + 1

    def _next_line(self) -> None:
        self.y += self.height
        self.x = self.height = 0


def target(expression: str, legend: str, ref: str, *, instant: bool, table: bool = False) -> dict:
    return {
        "refId": ref,
        "datasource": DATASOURCE,
        "expr": expression,
        "legendFormat": legend,
        "editorMode": "code",
        "format": "table" if table else "time_series",
        "instant": instant,
        "range": not instant,
    }


def _targets(queries: list[tuple[str, str]], **kind: bool) -> list[dict]:
    return [target(query, legend, chr(ord("A") + i), **kind) for i, (query, legend) in enumerate(queries)]


def steps(*bounds: tuple[float | None, str]) -> dict:
    return {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in bounds]}


def _defaults(unit: str, **more: object) -> dict:
    defaults: dict = {
        "unit": unit,
        "color": {"mode": "palette-classic"},
        "thresholds": steps((None, GREEN)),
        "mappings": [],
        # What was not measured is absent, never 0.
        "noValue": "not measured",
    }
    defaults.update(more)
    return defaults


def lines(
    title: str,
    unit: str,
    *queries: tuple[str, str],
    help: str = "",
    stacked: bool = False,
    points: bool = False,
    overrides: list[dict] | None = None,
    **defaults: object,
) -> dict:
    """A quantity over time. One point a second: with Grafana's own choice a short run is one point."""
    custom = {
        "drawStyle": "points" if points else "line",
        "lineInterpolation": "linear",
        "lineWidth": 1,
        "fillOpacity": 20 if stacked else 0,
        "pointSize": 7 if points else 4,
        "showPoints": "always" if points else "auto",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
    }
    return {
        "type": "timeseries",
        "title": title,
        "description": help,
        "datasource": DATASOURCE,
        "interval": "1s",
        "fieldConfig": {
            "defaults": _defaults(unit, custom=custom, **defaults),
            "overrides": overrides or [],
        },
        "options": {
            "legend": {
                "displayMode": "table",
                "placement": "bottom",
                "showLegend": True,
                "calcs": ["mean", "max", "lastNotNull"],
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": _targets(list(queries), instant=False),
    }


def stat(title: str, unit: str, *queries: tuple[str, str], help: str = "", **defaults: object) -> dict:
    """The run's number."""
    return {
        "type": "stat",
        "title": title,
        "description": help,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": _defaults(unit, **defaults), "overrides": []},
        "options": {
            "colorMode": "value",
            "graphMode": "none",
            "justifyMode": "auto",
            "orientation": "auto",
            "percentChangeColorMode": "standard",
            "showPercentChange": False,
            "textMode": "value_and_name",
            "wideLayout": True,
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
        "targets": _targets(list(queries), instant=True),
    }


def bars(title: str, unit: str, *queries: tuple[str, str], help: str = "", **defaults: object) -> dict:
    """Numbers side by side."""
    return {
        "type": "bargauge",
        "title": title,
        "description": help,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": _defaults(unit, **defaults), "overrides": []},
        "options": {
            "displayMode": "basic",
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
            "maxVizHeight": 300,
            "minVizHeight": 16,
            "minVizWidth": 8,
            "namePlacement": "auto",
            "orientation": "horizontal",
            "showUnfilled": True,
            "sizing": "auto",
            "valueMode": "color",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
        "targets": _targets(list(queries), instant=True),
    }


def stacked(title: str, unit: str, query: str, by: str, help: str = "") -> dict:
    """A bar a cycle, of which each part is one value of the label `by`."""
    return {
        "type": "barchart",
        "title": title,
        "description": help,
        "datasource": DATASOURCE,
        "fieldConfig": {
            "defaults": _defaults(unit, custom={"fillOpacity": 80, "lineWidth": 1}),
            "overrides": [],
        },
        "options": {
            "barRadius": 0,
            "barWidth": 0.9,
            "fullHighlight": False,
            "groupWidth": 0.7,
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "orientation": "auto",
            "showValue": "never",
            "stacking": "normal",
            "tooltip": {"mode": "multi", "sort": "none"},
            "xField": f"cycle\\{by}",
            "xTickLabelMaxLength": 0,
            "xTickLabelRotation": 0,
            "xTickLabelSpacing": 100,
        },
        "transformations": [
            {"id": "groupingToMatrix", "options": {"columnField": by, "rowField": "cycle", "valueField": "Value"}}
        ],
        "targets": [target(query, "", "A", instant=True, table=True)],
    }


def states(title: str, *queries: tuple[str, str], on: str, off: str, help: str = "") -> dict:
    """What is so (1) and what is not (0), over time."""
    mapping = {
        "type": "value",
        "options": {
            "0": {"text": off, "color": "transparent", "index": 0},
            "1": {"text": on, "color": BLUE, "index": 1},
        },
    }
    return {
        "type": "state-timeline",
        "title": title,
        "description": help,
        "datasource": DATASOURCE,
        "interval": "1s",
        "fieldConfig": {
            "defaults": _defaults("none", custom={"fillOpacity": 80, "lineWidth": 0}, mappings=[mapping]),
            "overrides": [],
        },
        "options": {
            "alignValue": "left",
            "mergeValues": True,
            "rowHeight": 0.9,
            "showValue": "never",
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
            "tooltip": {"mode": "single", "sort": "none"},
        },
        "targets": _targets(list(queries), instant=False),
    }


class Column:
    """Of a table of runs: a query that gives one series a run."""

    def __init__(self, title: str, query: str, unit: str = "none", decimals: int | None = None) -> None:
        self.title, self.query, self.unit, self.decimals = title, query, unit, decimals


def table(title: str, first: str, labels: dict[str, str], columns: list[Column], help: str = "") -> dict:
    """One line a run. `first` gives the labels, by which name each is shown; the columns are joined by `instance`."""
    refs = [chr(ord("B") + i) for i in range(len(columns))]
    queries = [target(first, "", "A", instant=True, table=True)]
    queries += [
        target(column.query, "", ref, instant=True, table=True) for ref, column in zip(refs, columns, strict=True)
    ]
    overrides = []
    for column in columns:
        properties = [{"id": "unit", "value": column.unit}]
        if column.decimals is not None:
            properties.append({"id": "decimals", "value": column.decimals})
        overrides.append({"matcher": {"id": "byName", "options": column.title}, "properties": properties})
    shown = {"instance": "run", **labels}
    overrides.append(
        {
            "matcher": {"id": "byName", "options": "run"},
            "properties": [
                {
                    "id": "links",
                    "value": [
                        {
                            "title": "Show this run",
                            "url": "/d/lem-run?var-instance=${__data.fields.run}&${DS_PROMETHEUS:queryparam}&from=${__from}&to=${__to}",
                        }
                    ],
                }
            ],
        }
    )
    renames = shown | {f"Value #{ref}": column.title for ref, column in zip(refs, columns, strict=True)}
    hidden = ["Value #A", "Time", *(f"Time {i + 1}" for i in range(len(columns) + 1))]
    return {
        "type": "table",
        "title": title,
        "description": help,
        "datasource": DATASOURCE,
        "fieldConfig": {
            "defaults": _defaults(
                "none", custom={"align": "auto", "cellOptions": {"type": "auto"}, "filterable": True, "inspect": False}
            ),
            "overrides": overrides,
        },
        "options": {
            "cellHeight": "sm",
            "frameIndex": 0,
            "showHeader": True,
            "footer": {"show": False, "reducer": [], "fields": []},
            "sortBy": [],
        },
        "transformations": [
            {"id": "joinByField", "options": {"byField": "instance", "mode": "outer"}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": {name: True for name in hidden},
                    "indexByName": {name: index for index, name in enumerate(renames)},
                    "renameByName": renames,
                },
            },
        ],
        "targets": queries,
    }
