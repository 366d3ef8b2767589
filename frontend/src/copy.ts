// Copy buttons: `data-copy` names the element whose text goes to the clipboard.
import { announce, on } from "./dom";

async function toClipboard(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // No permission, or not a secure context (plain http on another host).
    return false;
  }
}

function select(element: Element): void {
  const range = document.createRange();
  range.selectNodeContents(element);
  const selection = getSelection();
  selection?.removeAllRanges();
  selection?.addRange(range);
}

export function startCopying(): void {
  on("click", "[data-copy]", async (button) => {
    const source = document.querySelector(button.dataset["copy"] ?? "");
    if (!source) return;
    const done = await toClipboard(source.textContent ?? "");
    if (!done) select(source);
    const words = done ? "Copied" : "Selected: press Ctrl+C";
    const label = button.querySelector<HTMLElement>("[data-copy-label]");
    announce(words);
    if (!label) return;
    const before = label.dataset["copyLabel"] || label.textContent || "";
    label.dataset["copyLabel"] = before;
    label.textContent = words;
    setTimeout(() => {
      label.textContent = before;
    }, 2000);
  });
}
