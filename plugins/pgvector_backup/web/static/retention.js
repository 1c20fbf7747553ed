/** How long sets stay: the policy in words, a calendar of what stays and what goes, and why. */

import { announce, h, icon } from "./dom.js";
import { count, moment, size, time } from "./format.js";
import { locale, t } from "./i18n.js";
import { isDated, keyOf } from "./set.js";

const DAY = 86_400_000; // milliseconds
const LISTED = 40; // sets of a list that are shown

/** The rules in the order in which they are told. */
const RULES = ["last", "within_days", "hourly", "daily", "weekly", "monthly", "yearly"];

/**
 * The panel.
 *
 * @param {{policy: object, has_policy: boolean, time_zone: string, locations: Array}|Error|null} told as the API told
 *   it of one location; null: not yet
 * @param {{paths: string[], path: string, choose: function, prune: function|string, open: function}} options `prune`:
 *   a function, or the reason why not
 */
export function retentionPanel(told, { paths, path, choose, prune, open }) {
  if (told === null) return h("p", { class: "muted loading" }, t("loading"));
  if (told instanceof Error)
    return h("p", { class: "notice bad" }, icon("warning"), h("span", {}, told.message, " ", told.response ?? ""));
  const sets = told.locations[0]?.sets ?? [];
  const going = sets.filter((set) => !set.keep);
  const why = typeof prune === "string" ? prune : told.has_policy ? null : t("retention.none");
  return h(
    "div",
    { class: "card retention" },
    h(
      "div",
      { class: "toolbar" },
      paths.length > 1 && placeField(paths, path, choose),
      h("p", { class: "policy" }, told.has_policy ? policyInWords(told.policy) : t("retention.none")),
      h(
        "button",
        {
          type: "button",
          class: "button",
          "aria-disabled": why ? "true" : null,
          title: why,
          data: { focus: "prune", action: "prune" },
          on: { click: () => (why ? announce(why) : prune(told, path)) },
        },
        icon("bin"),
        t("action.prune"),
      ),
    ),
    sets.length > 0 && calendar(sets, told.time_zone, open, path),
    h(
      "p",
      { class: "small legend-line", role: "status" },
      swatch("keep"),
      t("retention.stay", { count: sets.length - going.length }),
      swatch("go"),
      t("retention.go", { count: going.length, size: size(sum(going)) }),
      swatch("pin"),
      t("retention.pinned", { count: sets.filter((set) => set.pinned).length }),
    ),
    told.locations[0]?.drastic && h("p", { class: "will" }, icon("info"), h("span", {}, t("retention.drastic"))),
    listOf("retention.list.go", going, path, open),
    listOf("retention.list.stay", sets.filter((set) => set.keep), path, open),
  );
}

/** What a policy keeps, as a sentence. */
export function policyInWords(policy) {
  const rules = RULES.filter((name) => policy[`keep_${name}`]).map((name) =>
    t(`rule.${name}`, { count: policy[`keep_${name}`] }),
  );
  const list = new Intl.ListFormat(locale(), { type: "conjunction" }).format(rules);
  return t("retention.policy", { rules: list, count: policy.keep_at_least ?? 1 });
}

const sum = (sets) => sets.reduce((total, set) => total + set.bytes, 0);
const swatch = (kind) => h("span", { class: `day ${kind}`, "aria-hidden": "true" });

function placeField(paths, path, choose) {
  const select = h(
    "select",
    {
      id: "retention-place",
      data: { focus: "retention-place" },
      on: { change: (event) => choose(event.target.value) },
    },
    paths.map((one) => h("option", { value: one }, one)),
  );
  select.value = path;
  return h("div", { class: "field" }, h("label", { for: "retention-place" }, t("retention.place")), select);
}

/** A year of days, a column a week; days are those of the zone in which the policy counts. */
function calendar(sets, zone, open, path) {
  const dayOf = dayIn(zone);
  const days = new Map();
  for (const set of sets) {
    const day = dayOf(set.created_at);
    days.set(day, [...(days.get(day) ?? []), set]);
  }
  const last = dayOf(sets[0].created_at);
  const end = new Date(`${last}T00:00:00Z`).getTime();
  const first = Math.max(
    end - 370 * DAY,
    Math.min(end - 27 * DAY, new Date(`${[...days.keys()].sort()[0]}T00:00:00Z`).getTime()),
  );
  const monday = first - ((new Date(first).getUTCDay() + 6) % 7) * DAY;
  const weeks = [];
  for (let week = monday; week <= end; week += 7 * DAY) weeks.push(week);
  const month = (when) =>
    new Date(when).toLocaleDateString(locale(), { month: "short", timeZone: "UTC" });
  const cell = (when) => {
    const name = new Date(when).toISOString().slice(0, 10);
    const of = days.get(name) ?? [];
    const kind = of.some((one) => one.pinned) ? "pin" : of.some((one) => one.keep) ? "keep" : of.length ? "go" : "none";
    if (when > end) return h("span", { class: "day beyond" });
    const title = of.length
      ? of.map((one) => `${one.timestamp}: ${fate(one)}: ${one.reasons.join("; ")}`).join("\n")
      : `${name}: ${t("retention.no_set")}`;
    return h("span", {
      class: `day ${kind}`,
      title,
      data: { day: name },
      on: of.length ? { click: () => open(path, of[0].timestamp) } : {},
    });
  };
  const kept = sets.filter((set) => set.keep).length;
  return h(
    "div",
    {
      class: "calendar",
      role: "img",
      "aria-label": t("retention.calendar", { count: kept, all: sets.length, last }),
    },
    weeks.map((week, index) =>
      h(
        "div",
        { class: "week" },
        h("span", { class: "month" }, (index === 0 ? month(week) === month(week + 14 * DAY) : month(week) !== month(week - 7 * DAY)) && month(week)),
        [0, 1, 2, 3, 4, 5, 6].map((day) => cell(week + day * DAY)),
      ),
    ),
  );
}

/** What day it was somewhere, as 2026-11-26. */
function dayIn(zone) {
  let parts;
  try {
    parts = new Intl.DateTimeFormat("en-CA", { timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit" });
  } catch {
    parts = new Intl.DateTimeFormat("en-CA", { timeZone: "UTC", year: "numeric", month: "2-digit", day: "2-digit" });
  }
  return (value) => parts.format(new Date(value));
}

const fate = (set) => t(set.keep ? "retention.stays" : "retention.goes");

function listOf(title, sets, path, open) {
  if (sets.length === 0) return null;
  return h(
    "details",
    { class: "fold", data: { fold: title } },
    h("summary", { data: { focus: title } }, `${t(title)} (${count(sets.length)})`),
    h(
      "ul",
      { class: "fates" },
      sets.slice(0, LISTED).map((set) =>
        h(
          "li",
          { data: { fate: set.timestamp } },
          h(
            "button",
            { type: "button", class: "link", data: { focus: `${title}-${set.timestamp}` }, on: { click: () => open(path, set.timestamp) } },
            set.timestamp,
          ),
          h("span", {}, set.reasons.join("; ")),
          goesAt(set),
        ),
      ),
      sets.length > LISTED && h("li", { class: "muted" }, t("retention.more", { count: sets.length - LISTED })),
    ),
  );
}

/** When a set would go if backups go on as they do. */
const goesAt = (set) =>
  set.goes_at && h("span", { class: "muted" }, t("retention.until", { day: moment(set.goes_at, { dateStyle: "medium" }) }));

/** Why a set stays or goes and until when: a paragraph of its detail; nothing where no plan is known. */
export function fateOf(set, planned) {
  const one = planned?.sets?.find((other) => other.timestamp === set.timestamp);
  if (!one) return null;
  return h(
    "p",
    { class: "will fate", data: { part: "fate" } },
    icon(one.keep ? "shield" : "bin"),
    h("span", {}, h("strong", {}, fate(one)), ": ", one.reasons.join("; "), one.goes_at && " · ", goesAt(one)),
  );
}

/** Who pinned a set, until when, and why. */
export function pinOf(set) {
  const { pin } = set;
  if (!pin) return null;
  const until = pin.until ? t("pin.until", { day: moment(pin.until, { dateStyle: "medium" }) }) : t("pin.for_ever");
  return h(
    "p",
    { class: "will pinned", data: { part: "pin" } },
    icon("pin"),
    h("span", {}, h("strong", {}, t("pin.by", { who: pin.by })), " · ", until, ": ", pin.reason, pin.at && [" · ", time(pin.at)]),
  );
}

/** The sets of a plan, each with whether it is pinned. */
export function withPins(told, sets) {
  const pinned = new Set(sets.filter((set) => set.pin && holds(set.pin)).map(keyOf));
  for (const place of told.locations)
    for (const set of place.sets) set.pinned = pinned.has(`${place.backup_path}/${set.timestamp}`);
  return told;
}

/** Whether a pin has not ended yet. */
export const holds = (pin) => pin.until === null || new Date(pin.until) > new Date();

/** Which location the panel begins with: that of the newest set whose time is known. */
export const firstPath = (sets) => (sets.find((set) => set.type === "global" && isDated(set)) ?? sets[0])?.relative_path ?? "";
