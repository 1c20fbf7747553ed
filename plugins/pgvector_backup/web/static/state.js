/** How things stand, in four tiles: the last backup, the newest good set, its verification, the next backup. */

import { h, icon } from "./dom.js";
import { duration, relative, size, time } from "./format.js";
import { t } from "./i18n.js";
import { runLink, stateBadge } from "./run.js";
import { isDated, placeName, verifiedBadge } from "./set.js";

/**
 * The tiles.
 *
 * @param {object} overview
 * @param {Array} sets all of them
 * @param {function} open shows a set
 */
export function tiles(overview, sets, open) {
  return [last(overview, sets), good(overview, open), verified(overview), next(overview), storage(overview)];
}

function tile(name, title, ...content) {
  return h(
    "section",
    { class: "card tile", "aria-labelledby": `tile-${name}`, data: { tile: name } },
    h("h3", { id: `tile-${name}` }, title),
    ...content,
  );
}

const big = (...content) => h("p", { class: "big" }, ...content);
const line = (...content) => h("p", { class: "muted small" }, content);

function last({ last: run }, sets) {
  const title = t("tile.last");
  if (!run) return tile("last", title, big(t("tile.never")), line(t("tile.never.text")));
  const set = sets.find((one) => one.run_id === run.run_id);
  const rows = set?.rows ?? run.progress?.rows;
  const bytes = set?.bytes ?? run.progress?.bytes;
  const facts = [
    rows !== undefined && rows !== null && t("rows", { count: rows }),
    bytes !== undefined && bytes !== null && size(bytes),
    duration(set?.duration ?? run.duration),
  ].filter(Boolean);
  const ended = run.end_date ?? run.start_date ?? run.queued_at;
  return tile(
    "last",
    title,
    big(time(ended, relative(ended)), " ", stateBadge(run)),
    line(facts.join(" · ")),
    run.error &&
      h(
        "p",
        { class: `small clamp ${run.cancelled ? "muted" : "bad-text"}`, title: run.error.response },
        run.error.response,
      ),
    line(runLink(run)),
  );
}

function good({ newest_good: set }, open) {
  const title = t("tile.good");
  if (!set) return tile("good", title, big(t("tile.none")), line(t("tile.none.text")));
  return tile(
    "good",
    title,
    big(isDated(set) ? time(set.created_at, relative(set.created_at)) : set.backup_date),
    line([set.database, t("rows", { count: set.rows ?? 0 }), size(set.bytes), placeName(set)].filter(Boolean).join(" · ")),
    line(
      h(
        "button",
        {
          type: "button",
          class: "link",
          data: { focus: "open-good" },
          on: { click: () => open(set.relative_path, set.timestamp) },
        },
        t("action.show"),
      ),
    ),
  );
}

function verified({ newest_good: set }) {
  const title = t("tile.verified");
  if (!set) return tile("verified", title, big("–"));
  const { verified: done } = set;
  return tile(
    "verified",
    title,
    big(verifiedBadge(set)),
    line(
      done
        ? [t(`depth.${done.depth}`), done.when && [" · ", time(done.when, relative(done.when))]]
        : t("tile.unverified.text"),
    ),
  );
}

/** Where the sets are, how much they take, how much is free. */
function storage({ storage: place }) {
  if (!place) return null;
  const low = place.free !== null && place.free < Math.max(place.bytes / 10, 1024 ** 3);
  return tile(
    "storage",
    t("tile.storage"),
    big(size(place.bytes), low && h("span", { class: "badge warn" }, t("tile.storage.low"))),
    line(
      [t("tile.storage.sets", { count: place.sets }), place.free === null ? null : t("tile.storage.free", { size: size(place.free) })]
        .filter(Boolean)
        .join(" · "),
    ),
    place.backup_root && line(h("code", { class: "path" }, place.backup_root)),
  );
}

function next({ next_run: when, schedule, paused }) {
  const title = t("tile.next");
  if (paused)
    return tile("next", title, big(h("span", { class: "badge warn" }, t("tile.paused"))), line(t("tile.paused.text")));
  if (!when) return tile("next", title, big(t("tile.by_hand")), line(t("tile.by_hand.text")));
  const due = new Date(when) > new Date();
  return tile(
    "next",
    title,
    big(due ? time(when, relative(when)) : t("tile.due")),
    line(icon("clock"), t("tile.schedule", { schedule: schedule ?? "–" })),
  );
}
