// The navigation on a narrow screen, the list of teams, tabs and folds: what moves between and within pages.
import { on, onContent } from "./dom";

/** Brings the chosen tab of a row that scrolls into sight, without moving the page. */
function showChosenTabs(): void {
  for (const tab of document.querySelectorAll<HTMLElement>(".tabs a[aria-current]")) {
    const row = tab.parentElement;
    if (!row) continue;
    const [inner, outer] = [tab.getBoundingClientRect(), row.getBoundingClientRect()];
    if (inner.left < outer.left || inner.right > outer.right) {
      row.scrollLeft += inner.left - outer.left - (outer.width - inner.width) / 2;
    }
  }
}

/** What CSS unfolds on a wide screen, where a browser cannot do it by CSS. */
function unfoldOnWideScreens(): void {
  if (CSS.supports("selector(::details-content)") || !matchMedia("(min-width: 44.01rem)").matches) return;
  for (const fold of document.querySelectorAll<HTMLDetailsElement>("details[data-open-wide]")) fold.open = true;
}

export function startNavigation(): void {
  onContent(showChosenTabs);
  unfoldOnWideScreens();
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
