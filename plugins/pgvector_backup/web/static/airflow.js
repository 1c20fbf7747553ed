/** Links from the page to Airflow's own pages. */

import { airflowUrl } from "./api.js";
import { h } from "./dom.js";

/**
 * A link to a page of Airflow's UI.
 *
 * Inside Airflow the page sits in a frame that may neither navigate the window nor open another one. The document
 * around it is of the same origin, so it is asked to follow the link: in its own window, or in a new one as the user
 * held the key for.
 */
export function airflowLink(path, ...children) {
  return h("a", { href: airflowUrl(path), on: { click: follow } }, ...children);
}

/** Open a page of Airflow's UI in place of the one that is shown. */
export function openAirflow(path) {
  const around = host();
  if (around) clickIn(around, airflowUrl(path), "_self");
  else location.assign(airflowUrl(path));
}

function follow(event) {
  const around = host();
  if (!around) return;
  event.preventDefault();
  const elsewhere = event.ctrlKey || event.metaKey || event.shiftKey;
  clickIn(around, event.currentTarget.href, elsewhere ? "_blank" : "_self");
}

function host() {
  try {
    return parent === window ? null : parent.document;
  } catch {
    return null;
  }
}

function clickIn(document_, href, target) {
  const link = document_.createElement("a");
  link.href = href;
  link.target = target;
  if (target === "_blank") link.rel = "noopener";
  document_.body.append(link);
  link.click();
  link.remove();
}
