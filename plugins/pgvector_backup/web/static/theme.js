/** Light or dark, as Airflow's UI around the page is, and live when that changes. */

const STORED = "theme"; // where Airflow's UI keeps "light", "dark" or "system"
const system = matchMedia("(prefers-color-scheme: dark)");

/** The document of Airflow's UI, when the page is shown inside it. */
function host() {
  try {
    return parent === window ? null : parent.document.documentElement;
  } catch {
    return null; // framed by another origin
  }
}

function wanted() {
  const classes = host()?.classList;
  for (const theme of ["dark", "light"]) if (classes?.contains(theme)) return theme;
  let stored = null;
  try {
    stored = localStorage.getItem(STORED);
  } catch {
    // no storage: the system decides
  }
  return stored === "dark" || stored === "light" ? stored : system.matches ? "dark" : "light";
}

/** Follow Airflow's theme from now on; `callback` is called after each change. */
export function followTheme(callback) {
  const apply = () => {
    const theme = wanted();
    if (document.documentElement.dataset.theme === theme) return;
    document.documentElement.dataset.theme = theme;
    callback();
  };
  const around = host();
  if (around) new MutationObserver(apply).observe(around, { attributes: true, attributeFilter: ["class"] });
  addEventListener("storage", (event) => event.key === STORED && apply());
  system.addEventListener("change", apply);
  apply();
}

/** The value of one of the style sheet's colours, for what is drawn on a canvas. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
