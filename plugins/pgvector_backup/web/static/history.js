/** Four charts over time, a line a table: rows, bytes, duration, throughput. Drawn by uPlot. */

import { fill, h } from "./dom.js";
import { count, duration, moment, size, speed } from "./format.js";
import { locale, t } from "./i18n.js";
import { isDated, throughput } from "./set.js";
import { colour } from "./theme.js";

const HEIGHT = 150; // pixels
const HALF_DAY = 43_200; // seconds
const COLOURS = 6; // lines in the style sheet

const compact = (value) => value.toLocaleString(locale(), { notation: "compact", maximumFractionDigits: 1 });

const CHARTS = [
  { name: "rows", of: (table) => table.rows, axis: compact, say: count },
  { name: "bytes", of: (table) => table.bytes, axis: (value) => size(value, 0), say: size, steps: 1024 },
  { name: "duration", of: (table) => table.duration, axis: duration, say: duration },
  { name: "throughput", of: throughput, axis: (value) => `${size(value, 0)}/s`, say: speed, steps: 1024 },
];

/** The charts, in a container of their own; `draw` as often as there is something new. */
export class History {
  #container;
  #plots = [];
  #hidden = new Set();
  #sets = [];
  #labels = [];
  #named = (set, label) => label;
  #resize = new ResizeObserver(() => this.#fit());

  constructor(container) {
    this.#container = container;
  }

  /** @param {Array} sets any order; those without a manifest know neither rows nor a moment and are left out */
  draw(sets) {
    this.#sets = sets
      .filter((set) => set.manifest_file && isDated(set) && Object.keys(set.tables).length)
      .sort((a, b) => secondsOf(a) - secondsOf(b));
    // Sets of several databases are lines of their own, whatever their tables are called.
    const several = new Set(this.#sets.map((set) => set.database)).size > 1;
    this.#named = (set, label) => (several && set.database ? `${set.database} · ${label}` : label);
    this.redraw();
  }

  /** The table of a set that a line is of. */
  #table(set, line) {
    const found = Object.entries(set.tables).find(([label]) => this.#named(set, label) === line);
    return found?.[1];
  }

  /** Draw again: the colours, the words or the width may have changed. */
  redraw() {
    this.#resize.disconnect();
    for (const plot of this.#plots) plot.destroy();
    this.#plots = [];
    if (this.#sets.length === 0 || !globalThis.uPlot) {
      fill(this.#container, h("p", { class: "muted" }, t(this.#sets.length ? "history.no_library" : "history.none")));
      return;
    }
    this.#labels = [...new Set(this.#sets.flatMap((set) => Object.keys(set.tables).map((label) => this.#named(set, label))))].sort();
    const figures = CHARTS.map(figureOf);
    fill(this.#container, this.#legend(), h("div", { class: "charts" }, figures));
    CHARTS.forEach((chart, index) => this.#plot(chart, figures[index]));
    this.#resize.observe(this.#container);
  }

  #legend() {
    return h(
      "div",
      { class: "legend", role: "group", "aria-label": t("history.tables") },
      this.#labels.map((label) =>
        h(
          "button",
          {
            type: "button",
            class: "chip",
            "aria-pressed": String(!this.#hidden.has(label)),
            data: { focus: `chip-${label}`, line: this.#line(label) },
            on: { click: () => this.#toggle(label) },
          },
          h("span", { class: "swatch", "aria-hidden": "true" }),
          label,
        ),
      ),
    );
  }

  #toggle(label) {
    if (!this.#hidden.delete(label)) this.#hidden.add(label);
    this.redraw();
  }

  /** The number of a table's colour. */
  #line(label) {
    return this.#labels.indexOf(label) % COLOURS;
  }

  #plot(chart, figure) {
    const canvas = figure.querySelector(".canvas");
    const shown = this.#labels.filter((label) => !this.#hidden.has(label));
    const moments = this.#sets.map(secondsOf);
    const lines = shown.map((label) =>
      this.#sets.map((set) => {
        const table = this.#table(set, label);
        return (table && chart.of(table)) ?? null;
      }),
    );
    const known = lines.flat().filter((value) => value !== null);
    canvas.setAttribute("aria-label", this.#summary(chart, shown, lines));
    if (known.length === 0) {
      canvas.removeAttribute("role");
      fill(canvas, h("p", { class: "muted small" }, t(shown.length ? "history.unknown" : "history.none_chosen")));
      return;
    }
    const tone = { stroke: colour("fg-muted"), font: `11px ${getComputedStyle(document.body).fontFamily}` };
    const grid = { stroke: colour("border"), width: 1 };
    const span = [moments[0], moments.at(-1)];
    const plot = new uPlot(
      {
        width: Math.max(canvas.clientWidth, 100),
        height: HEIGHT,
        legend: { show: false },
        cursor: { points: { size: 7 }, drag: { setScale: false, x: false, y: false }, y: false },
        scales: {
          x: {
            time: true,
            range: () => (span[0] === span[1] ? [span[0] - HALF_DAY, span[1] + HALF_DAY] : padded(span)),
          },
          y: { range: (_, __, top) => [0, top > 0 ? top * 1.1 : 1] },
        },
        axes: [
          {
            ...tone,
            grid: { show: false },
            ticks: { show: false },
            size: 24,
            space: 70,
            values: (_, splits) => dates(splits, span),
          },
          {
            ...tone,
            grid,
            ticks: { show: false },
            size: 64,
            space: 36,
            incrs: chart.steps && increments(),
            values: (_, splits) => splits.map(chart.axis),
          },
        ],
        series: [
          {},
          ...shown.map((label) => {
            const stroke = colour(`line-${this.#line(label)}`);
            return {
              label,
              stroke,
              width: 2,
              spanGaps: true,
              points: { show: moments.length <= 60, size: 5, fill: stroke },
            };
          }),
        ],
        hooks: { setCursor: [(self) => this.#read(self, chart, figure, shown)] },
      },
      [moments, ...lines],
      canvas,
    );
    this.#plots.push(plot);
    this.#read(plot, chart, figure, shown);
  }

  /** What the chart shows, in words: the newest and the range of each line. */
  #summary(chart, labels, lines) {
    const parts = labels.map((label, index) => {
      const values = lines[index].filter((value) => value !== null);
      return (
        values.length &&
        t("history.summary", {
          table: label,
          low: chart.say(Math.min(...values)),
          high: chart.say(Math.max(...values)),
          last: chart.say(values.at(-1)),
        })
      );
    });
    return [t(`history.${chart.name}`), ...parts.filter(Boolean)].join(". ");
  }

  /** Below the chart: the values under the pointer, or the newest ones. */
  #read(plot, chart, figure, labels) {
    const index = plot.cursor.idx ?? this.#sets.length - 1;
    const when = moment(plot.data[0][index] * 1000, { dateStyle: "short", timeStyle: "short" });
    fill(
      figure.querySelector(".readout"),
      h("span", {}, when),
      labels.map((label, line) => {
        const value = plot.data[line + 1][index];
        return (
          value !== null &&
          value !== undefined &&
          h(
            "span",
            { class: "value", data: { line: this.#line(label) } },
            h("span", { class: "swatch" }),
            chart.say(value),
          )
        );
      }),
    );
  }

  #fit() {
    for (const plot of this.#plots) {
      const width = plot.root.parentElement.clientWidth;
      if (width && width !== plot.width) plot.setSize({ width, height: HEIGHT });
    }
  }
}

function figureOf(chart) {
  return h(
    "figure",
    { class: "card chart", data: { chart: chart.name } },
    h("figcaption", {}, t(`history.${chart.name}`)),
    h("div", { class: "canvas", role: "img" }),
    h("p", { class: "readout small muted", "aria-hidden": "true" }),
  );
}

const secondsOf = (set) => new Date(set.created_at).getTime() / 1000;

function padded([from, to]) {
  const margin = (to - from) * 0.03;
  return [from - margin, to + margin];
}

/** Steps of an axis of bytes: 1, 2, 5, 10, … 500 of each unit. */
function increments() {
  return [0, 1, 2, 3, 4].flatMap((unit) => [1, 2, 5, 10, 20, 50, 100, 200, 500].map((step) => step * 1024 ** unit));
}

/** The dates below a chart: as much of them as its span needs. */
function dates(splits, [from, to]) {
  const days = (to - from) / 86_400;
  const parts =
    days < 2
      ? { hour: "2-digit", minute: "2-digit" }
      : days < 400
        ? { month: "short", day: "numeric" }
        : { year: "numeric", month: "short" };
  return splits.map((split) => moment(split * 1000, parts));
}
