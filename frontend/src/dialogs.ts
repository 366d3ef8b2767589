// Dialogs and drawers: opened by a button or when content arrives, closed by a button, Escape or the veil.
import { on, onContent } from "./dom";

function byId(id: string | undefined): HTMLDialogElement | null {
  const element = id ? document.getElementById(id) : null;
  return element instanceof HTMLDialogElement ? element : null;
}

export function startDialogs(): void {
  on("click", "[data-open-dialog]", (button) => byId(button.dataset["openDialog"])?.showModal());
  on("click", "[data-close-dialog]", (button) => button.closest("dialog")?.close());
  document.addEventListener("click", (event) => {
    const target = event.target;
    // A press on the veil reaches the dialog itself, never something inside it.
    if (target instanceof HTMLDialogElement && !target.hasAttribute("data-stay")) target.close();
  });
  document.addEventListener(
    "cancel",
    (event) => {
      // A key that is shown once must not vanish by a stray Escape.
      if (event.target instanceof HTMLDialogElement && event.target.hasAttribute("data-stay")) event.preventDefault();
    },
    true,
  );
  onContent(() => {
    for (const dialog of document.querySelectorAll<HTMLDialogElement>("dialog[data-open-now]")) {
      dialog.removeAttribute("data-open-now");
      if (!dialog.open) dialog.showModal();
    }
  });
  document.addEventListener("htmx:after:swap", (event) => {
    const target = (event as CustomEvent<{ ctx?: { target?: Element } }>).detail?.ctx?.target;
    const dialog = target?.closest<HTMLDialogElement>("dialog[data-open-on-content]");
    if (dialog && !dialog.open) dialog.showModal();
  });
}
