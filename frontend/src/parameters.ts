// The editor of a SQL tool's parameters: rows are added from a template and removed, never numbered.
import { on } from "./dom";

let serial = 0;

/** Gives each control of a new row its own id, so that its label names it. */
function connectLabels(row: Element): void {
  serial += 1;
  for (const label of row.querySelectorAll("label[data-for]")) {
    const control = row.querySelector(`[data-part="${label.getAttribute("data-for") ?? ""}"]`);
    if (!control) continue;
    control.id = `parameter-new-${serial}-${label.getAttribute("data-for") ?? ""}`;
    label.setAttribute("for", control.id);
  }
}

export function startParameters(): void {
  on("click", "[data-add-parameter]", (button) => {
    const template = document.querySelector<HTMLTemplateElement>("#parameter-template");
    const list = document.querySelector("#parameters");
    const row = template?.content.firstElementChild?.cloneNode(true);
    if (!list || !(row instanceof HTMLElement)) return;
    connectLabels(row);
    list.append(row);
    row.querySelector<HTMLInputElement>("input")?.focus();
    button.dispatchEvent(new Event("change", { bubbles: true }));
  });
  on("click", "[data-remove-parameter]", (button) => {
    const row = button.closest(".parameter");
    const list = row?.parentElement;
    row?.remove();
    list?.dispatchEvent(new Event("change", { bubbles: true }));
    document.querySelector<HTMLElement>("[data-add-parameter]")?.focus();
  });
}
