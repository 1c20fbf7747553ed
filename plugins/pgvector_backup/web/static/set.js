/** A backup set in a few words. */

import { h, icon } from "./dom.js";
import { moment, relative, time } from "./format.js";
import { t } from "./i18n.js";

/** What tells a set from all others. */
export const keyOf = (set) => `${set.relative_path}/${set.timestamp}`;

/** Where a set is: its task, or the place common to all. */
export function placeName(set) {
  return set.type === "global" || !set.task_id ? t("place.global") : set.task_id;
}

/** The database that a set is of, or null. */
export const databaseOf = (set) => set.database ?? null;

/** Whether it is known when a set was made; without a manifest nothing tells the time zone of its name. */
export const isDated = (set) => /(Z|[+-]\d\d:?\d\d)$/.test(set.created_at ?? "");

/** When a set was made. */
export const whenOf = (set) =>
  isDated(set) ? time(set.created_at, moment(set.created_at)) : h("span", {}, set.backup_date);

/** Milliseconds since 1970, for sorting. */
export const madeAt = (set) =>
  new Date(isDated(set) ? set.created_at : `${set.backup_date.replace(" ", "T")}Z`).getTime();

/** How fast a table was read, in bytes a second before compression; null where nothing tells its duration. */
export const throughput = (table) => (table.duration > 0 ? (table.raw_bytes ?? table.bytes) / table.duration : null);

/** Whether a set has proven itself. */
export function verifiedBadge(set) {
  if (set.damaged) return badge("failed", "cross", "set.damaged", set.damaged);
  if (!set.manifest_file) return h("span", { class: "badge none", title: t("set.foreign.text") }, t("set.foreign"));
  if (Object.keys(set.failed_tables ?? {}).length)
    return badge("failed", "warning", "set.partial", Object.values(set.failed_tables).join("; "));
  const { verified } = set;
  if (!verified) return h("span", { class: "badge none" }, t("set.unverified"));
  if (!verified.ok) return badge("failed", "cross", "set.damaged", t("set.damaged.verify"));
  return badge(
    "success",
    "check",
    `set.verified.${verified.depth}`,
    verified.when && `${relative(verified.when)} · ${moment(verified.when)}`,
  );
}

function badge(state, picture, key, title) {
  return h("span", { class: `badge ${state}`, title }, icon(picture), t(key));
}

/** That a set is pinned, in one word; by whom and why behind it. */
export const pinBadge = ({ pin }) =>
  pin && h("span", { class: "badge pinned", title: `${pin.by}: ${pin.reason}` }, icon("pin"), t("set.pinned"));

/** At how many of the other roots a set lies whole; which ones behind it. */
export function copiesBadge(copies) {
  if (!copies?.length) return null;
  const whole = copies.filter((one) => one.state === "whole").length;
  const lost = copies.some((one) => ["missing", "damaged"].includes(one.state));
  const title = copies.map((one) => `${one.root}: ${t(`copy.${one.state}`)}`).join("\n");
  const words = t("set.copies", { whole: String(whole), all: String(copies.length) });
  return h("span", { class: `badge ${lost ? "failed" : whole === copies.length ? "success" : "none"}`, title }, icon("copy"), words);
}

/** Whether a restore or a verify can be asked for. */
export const usable = (set) => !set.damaged && Object.keys(set.tables ?? {}).length > 0;

/** Whether a set says which rows its tables held, so that it can be compared and searched. */
export const hasKeys = (set) => Object.values(set.tables ?? {}).some((table) => table.has_keys);

/** The sets that an increment stands on, the full one first, then itself: pairs of an id and the set, if it is there. */
export const chainOf = (set, sets) =>
  set.chain?.length ? [...set.chain, set.timestamp].map((id) => [id, sets.find((one) => one.timestamp === id)]) : [];

/** How many increments stand on a set, of those that are there. */
export const standingOn = (set, sets) =>
  sets.filter((one) => one.relative_path === set.relative_path && one.chain?.includes(set.timestamp)).length;

/** The further roots where a set may lie too, as far as its details have been asked for. */
export const copiesOf = (set) => (set?.copies ?? []).filter((one) => one.state !== "missing").map((one) => one.root);
