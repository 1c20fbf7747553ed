/** A dialog that says what will happen, and does it only when told so. */

import { announce, byFocus, fill, h, icon } from "./dom.js";
import { t } from "./i18n.js";

let number = 0;

/**
 * Ask; the dialog closes once `act` has succeeded, or when the user leaves.
 *
 * @param {object} options
 * @param {string} options.title
 * @param {Node[]} options.content the form's fields
 * @param {function(): (Node|string|Array)} [options.consequence] what will happen and to what, as the fields are now
 * @param {function(): (string|null)} [options.confirmation] the word to type before anything happens; null: none
 * @param {string} [options.confirm] words of the button; none: there is nothing to do but to close
 * @param {string} [options.backOut] words of the button that leaves all as it is
 * @param {boolean} [options.danger]
 * @param {function(): Promise} [options.act]
 */
export function ask({ title, content = [], consequence, confirmation, confirm, backOut, danger = false, act }) {
  const id = `dialog-${(number += 1)}`;
  const told = h("div", { class: "consequence", id: `${id}-told`, "aria-live": "polite" });
  const guard = h("div", { class: "guard" });
  const problem = h("div", { role: "alert" });
  const cancel = h(
    "button",
    { type: "button", class: "button", on: { click: () => dialog.close() } },
    backOut ?? t(confirm ? "action.back_out" : "action.close"),
  );
  const go =
    confirm && h("button", { type: "submit", class: `button ${danger ? "danger solid" : "primary"}` }, confirm);
  const form = h(
    "form",
    { method: "dialog", novalidate: true, on: { submit, input: update, change: update } },
    h(
      "header",
      {},
      h("h2", { id }, title),
      h(
        "button",
        {
          type: "button",
          class: "button icon-only",
          "aria-label": t("action.close"),
          on: { click: () => dialog.close() },
        },
        icon("cross"),
      ),
    ),
    h("div", { class: "dialog-body" }, content),
    h("div", { class: "dialog-verdict" }, consequence && told, guard, problem),
    h("footer", {}, cancel, go),
  );
  const dialog = h(
    "dialog",
    {
      class: "dialog",
      "aria-labelledby": id,
      "aria-describedby": consequence ? `${id}-told` : null,
      on: { close: closed },
    },
    form,
  );
  const opener = document.activeElement?.dataset?.focus;
  let wanted = null;
  let typed = null;

  function closed() {
    dialog.remove();
    // The browser gives the focus back to the control that had it, unless that was drawn anew meanwhile.
    if (document.activeElement === document.body && opener !== undefined) byFocus(opener)?.focus();
  }

  function update() {
    if (consequence) fill(told, consequence());
    const word = confirmation?.() ?? null;
    if (word !== wanted) {
      wanted = word;
      typed =
        word === null
          ? null
          : h("input", {
              id: `${id}-word`,
              type: "text",
              autocomplete: "off",
              spellcheck: "false",
              autocapitalize: "off",
              data: { confirmation: "" },
            });
      fill(
        guard,
        word !== null && [
          h("label", { for: `${id}-word` }, t("dialog.type.before"), h("code", {}, word), t("dialog.type.after")),
          typed,
        ],
      );
    }
    if (go) go.setAttribute("aria-disabled", String(!ready()));
  }

  const ready = () => !form.hasAttribute("aria-busy") && (wanted === null || typed.value === wanted);

  async function submit(event) {
    event.preventDefault();
    if (!go || form.hasAttribute("aria-busy")) return;
    if (!ready()) {
      fill(
        problem,
        h(
          "p",
          { class: "notice bad" },
          icon("warning"),
          h("span", {}, t("dialog.type.before"), wanted, t("dialog.type.after")),
        ),
      );
      typed.focus();
      return;
    }
    form.setAttribute("aria-busy", "true");
    go.setAttribute("aria-disabled", "true");
    fill(problem);
    try {
      await act();
      dialog.close();
    } catch (fault) {
      fill(
        problem,
        h(
          "div",
          { class: "notice bad" },
          icon("warning"),
          h("div", {}, h("strong", {}, fault.message), fault.response && h("p", {}, fault.response)),
        ),
      );
      announce(fault.message);
    } finally {
      form.removeAttribute("aria-busy");
      update();
    }
  }

  update();
  document.body.append(dialog);
  dialog.showModal();
  const first = form.querySelector(".dialog-body :is(input, select, a), .guard input");
  (first ?? cancel).focus();
  return dialog;
}
