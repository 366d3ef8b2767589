// The theme switch: system, light, dark in turn. The choice stays in this browser only.
import { announce, on } from "./dom";

const KEY = "marina.theme";
const ORDER = ["system", "light", "dark"] as const;
type Theme = (typeof ORDER)[number];

function current(): Theme {
  const chosen = document.documentElement.dataset["theme"];
  return chosen === "light" || chosen === "dark" ? chosen : "system";
}

function apply(theme: Theme): void {
  if (theme === "system") {
    delete document.documentElement.dataset["theme"];
  } else {
    document.documentElement.dataset["theme"] = theme;
  }
  try {
    if (theme === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, theme);
  } catch {
    // Storage is off: the choice lasts for this page.
  }
  label();
}

function label(): void {
  for (const button of document.querySelectorAll<HTMLElement>("[data-theme-switch]")) {
    const words = `Theme: ${current()}`;
    button.setAttribute("aria-label", words);
    button.title = words;
  }
}

export function startTheme(): void {
  label();
  on("click", "[data-theme-switch]", () => {
    const next = ORDER[(ORDER.indexOf(current()) + 1) % ORDER.length] ?? "system";
    apply(next);
    announce(`Theme: ${next}`);
  });
}
