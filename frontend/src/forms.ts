// Small comforts of forms: filters that apply when changed, a summary of chosen scopes, no double sending.
import { on, onContent } from "./dom";

function summarise(form: HTMLFormElement): void {
  const place = form.querySelector<HTMLElement>("[data-scope-summary]");
  if (!place) return;
  const chosen = [...form.querySelectorAll<HTMLInputElement>("input[data-scope-words]:checked")];
  const narrowed = [...form.querySelectorAll<HTMLInputElement>("input[data-narrow]:checked")];
  if (chosen.length === 0) {
    place.textContent = "With nothing chosen, the key opens nothing.";
    return;
  }
  const may = chosen.map((box) => (box.dataset["scopeWords"] ?? "").replace(/\.$/, "").toLowerCase()).join("; ");
  const only = narrowed.map((box) => box.dataset["narrow"] ?? "").join(", ");
  place.textContent = `This key may: ${may}.${only ? ` Only for: ${only}.` : ""}`;
}

/** A server offers either every tool or chosen sources: ticking one side lets go of the other. */
function startOffers(): void {
  on("change", "[data-offered-sources]", (group, event) => {
    const box = event.target;
    const radio = group.closest("form")?.querySelector<HTMLInputElement>('[data-offers] input[value="chosen"]');
    if (radio && box instanceof HTMLInputElement && box.checked) radio.checked = true;
  });
  on("change", "[data-offers]", (group, event) => {
    const radio = event.target;
    if (!(radio instanceof HTMLInputElement) || radio.value !== "all") return;
    const boxes = group.closest("form")?.querySelectorAll<HTMLInputElement>("[data-offered-sources] input:checked");
    for (const box of boxes ?? []) box.checked = false;
  });
}

/** Whether a form's selects stand as the page came. */
function isUnchanged(form: HTMLFormElement): boolean {
  const options = [...form.querySelectorAll<HTMLOptionElement>("select option")];
  return options.every((option) => option.selected === option.defaultSelected);
}

/** A button that sends a change sleeps until there is one. Without script it is always awake. */
function startChangeButtons(): void {
  const judge = (form: HTMLFormElement): void => {
    const button = form.querySelector<HTMLButtonElement>("[data-once-changed]");
    if (button) button.disabled = isUnchanged(form);
  };
  on("change", "form:has([data-once-changed])", (form) => {
    if (form instanceof HTMLFormElement) judge(form);
  });
  const judgeAll = (): void => {
    for (const form of document.querySelectorAll<HTMLFormElement>("form:has([data-once-changed])")) judge(form);
  };
  onContent(judgeAll);
  window.addEventListener("pageshow", judgeAll);
}

/** A document may be chosen as a file, too: its text goes into the field, as if it were pasted. */
function startFiles(): void {
  onContent(() => {
    for (const area of document.querySelectorAll<HTMLTextAreaElement>("textarea[data-takes-file]")) {
      if (area.nextElementSibling instanceof HTMLInputElement) continue;
      const file = document.createElement("input");
      file.type = "file";
      file.accept = ".json,.yaml,.yml,application/json,application/yaml";
      file.setAttribute("aria-label", "Or choose a file");
      file.addEventListener("change", () => {
        const chosen = file.files?.[0];
        if (!chosen) return;
        void chosen.text().then((text) => {
          area.value = text;
          area.dispatchEvent(new Event("input", { bubbles: true }));
        });
      });
      area.after(file);
    }
  });
}

export function startForms(): void {
  startFiles();
  startOffers();
  startChangeButtons();
  on("change", "form[data-apply-on-change]", (form, event) => {
    if (!(form instanceof HTMLFormElement)) return;
    if (event.target instanceof HTMLSelectElement) form.requestSubmit();
  });
  on("change", "form[data-scopes]", (form) => {
    if (form instanceof HTMLFormElement) summarise(form);
  });
  onContent(() => {
    for (const form of document.querySelectorAll<HTMLFormElement>("form[data-scopes]")) summarise(form);
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!(form instanceof HTMLFormElement) || form.method !== "post") return;
    if (form.hasAttribute("data-sending")) {
      event.preventDefault();
      return;
    }
    // htmx forms may be sent again; a plain form leaves the page.
    if (![...form.attributes].some((attribute) => attribute.name.startsWith("hx-"))) {
      form.setAttribute("data-sending", "");
    }
  });
  // Coming back by the browser's history shows the page as it was left: sending must work again.
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sending]")) form.removeAttribute("data-sending");
  });
}
