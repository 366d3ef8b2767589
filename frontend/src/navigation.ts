// The navigation on a narrow screen, and the list of teams: opened by a press, closed by Escape or elsewhere.
import { on } from "./dom";

export function startNavigation(): void {
  on("click", "[data-menu]", (button) => {
    const nav = button.closest<HTMLElement>(".nav");
    if (!nav) return;
    const open = nav.toggleAttribute("data-open");
    button.setAttribute("aria-expanded", String(open));
  });
  document.addEventListener("click", (event) => {
    for (const list of document.querySelectorAll<HTMLDetailsElement>("details.tenant[open]")) {
      if (!(event.target instanceof Node && list.contains(event.target))) list.open = false;
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const list = document.querySelector<HTMLDetailsElement>("details.tenant[open]");
    if (!list) return;
    list.open = false;
    list.querySelector("summary")?.focus();
  });
}
