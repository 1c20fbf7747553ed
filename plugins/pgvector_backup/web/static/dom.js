/** Elements. Text becomes text nodes only: no name, path or message can turn into markup. */

/**
 * Make an element.
 *
 * @param {string} tag
 * @param {object} props attributes; `class`, `on` (listeners by event), `data` (data-*); true, false and null as HTML has
 *   them; `value`, `checked` and `open` are set as properties
 * @param {...(Node|string|number|null|Array)} children
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "value" || name === "checked" || name === "open") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children) {
    if (Array.isArray(child)) add(element, child);
    else if (child !== null && child !== undefined && child !== false) element.append(child);
  }
}

const SVG = "http://www.w3.org/2000/svg";

const ICONS = {
  check: "M20 6 9 17l-5-5",
  cross: "M18 6 6 18M6 6l12 12",
  warning: "M12 3 2 20h20L12 3zm0 7v4m0 3v.01",
  info: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zm0-10v5m0-8v.01",
  clock: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zm0-14v5l3 2",
  down: "m6 9 6 6 6-6",
  save: "M12 3v12m0 0 5-5m-5 5-5-5M4 19h16",
  back: "M4 12a8 8 0 1 0 2.5-5.8M4 4v4h4",
  shield: "M12 3 5 6v5c0 5 3 8.500 7 10 4-1.500 7-5 7-10V6l-7-3zm-3 9 2 2 4-4",
  bin: "M4 7h16M9 7V4h6v3m3 0-1 13H7L6 7m4 4v5m4-5v5",
  copy: "M9 9h11v11H9zM15 9V4H4v11h5",
  compare: "M8 4v16m0 0-4-4m4 4 4-4M16 20V4m0 0-4 4m4-4 4 4",
  plus: "M12 5v14M5 12h14",
  pin: "M9 3h6l-1 7 4 4H6l4-4-1-7zm3 11v7",
};

/** One of the page's icons, unseen by screen readers: the words beside it say the same. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** Text in which `…` marks code, as nodes. */
export function coded(text) {
  return text.split("`").map((part, index) => (index % 2 ? h("code", {}, part) : part));
}

const CONTROLS = "a[href], button, input, select, textarea, summary, [tabindex]";

/**
 * Put other content into a container; the keyboard's focus stays where it was: with the control of the same
 * `data-focus`, else with the one at the same place.
 *
 * @param {Element} container
 * @param {...(Node|string|null|Array)} children
 */
export function fill(container, ...children) {
  const focused = document.activeElement;
  const held = container.contains(focused) && focused !== container;
  const place = held ? [...container.querySelectorAll(CONTROLS)].indexOf(focused) : -1;
  container.replaceChildren();
  add(container, children);
  if (!held || document.activeElement === focused) return;
  const name = focused.dataset.focus;
  const heir = name === undefined ? container.querySelectorAll(CONTROLS)[place] : byFocus(name, container);
  if (heir?.tagName === focused.tagName) heir.focus({ preventScroll: true });
}

/** The control of that `data-focus`. */
export function byFocus(name, root = document) {
  return root.querySelector(`[data-focus="${CSS.escape(name)}"]`);
}

/** Say something to those who listen rather than look. */
export function announce(text) {
  const announcer = document.getElementById("announcer");
  if (announcer.textContent !== text) announcer.textContent = text;
}
