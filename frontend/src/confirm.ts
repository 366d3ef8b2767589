// Typed-name confirmation: the button wakes when the typed text is the name. The server checks again.
import { on } from "./dom";

export function startConfirmations(): void {
  on("input", "[data-confirm-name]", (field) => {
    if (!(field instanceof HTMLInputElement)) return;
    const button = field.form?.querySelector<HTMLButtonElement>("[data-confirm-button]");
    if (button) button.disabled = field.value !== field.dataset["confirmName"];
  });
}
