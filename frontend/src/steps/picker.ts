// The dialog that offers what may be referred to, and writes the reference into a control.
import { find } from "./parts";
import type { Known } from "./scope";
import type { Tools } from "./tools";

const MOST_AT_ONCE = 12;

type Target = () => HTMLInputElement | HTMLTextAreaElement;

/** Opens the dialog; `target` is the control to write into once something is picked. */
export function openPicker(
  dialog: HTMLDialogElement,
  target: Target,
  known: readonly Known[],
  tools: Tools,
): void {
  const list = find(dialog, "[data-list]");
  const draw = (): void => {
    list.replaceChildren();
    for (const { name, from, tool, part } of known) {
      list.append(offer(dialog, target, name, "", tool ? `${from}, ${tool}` : from));
      for (const path of tools.get(tool)?.gives ?? []) {
        if (path.startsWith(`${part}.`)) list.append(offer(dialog, target, name, path.slice(part.length), ""));
      }
    }
    startFilter(find<HTMLInputElement>(dialog, "[data-filter]"), list);
  };
  draw();
  find(dialog, "[data-none]").hidden = known.length > 0;
  dialog.showModal();
  // Where the page was quicker than what the tools give, that comes a moment later.
  void Promise.all(known.map(({ tool }) => tools.learn(tool))).then((learnt) => {
    if (!dialog.open || !learnt.includes(true)) return;
    draw();
    find(dialog, "input:not([hidden]), button").focus();
  });
}

/** Many values are narrowed to those that contain what is typed; Enter takes the first. */
function startFilter(filter: HTMLInputElement, list: HTMLElement): void {
  filter.hidden = list.childElementCount <= MOST_AT_ONCE;
  filter.value = "";
  filter.oninput = (event) => {
    // It is no part of the definition.
    event.stopPropagation();
    const wanted = filter.value.trim().toLowerCase();
    for (const item of list.children) {
      if (item instanceof HTMLElement) item.hidden = !(item.textContent ?? "").toLowerCase().includes(wanted);
    }
  };
  filter.onkeydown = (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    list.querySelector<HTMLElement>("li:not([hidden]) > button")?.click();
  };
}

function offer(
  dialog: HTMLDialogElement,
  target: Target,
  name: string,
  path: string,
  from: string,
): HTMLElement {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button button-quiet pick";
  const written = document.createElement("code");
  written.textContent = path ? `\${${name}${path}}` : `$${name}`;
  button.append(written);
  if (from) {
    const about = document.createElement("span");
    about.className = "muted small";
    about.textContent = ` ${from}`;
    button.append(about);
  }
  button.addEventListener("click", () => {
    dialog.close();
    const control = target();
    write(control, name, path);
    control.focus();
  });
  item.append(button);
  return item;
}

/** Writes a reference where the cursor is; in a text it stands in braces, and among JSON in quotes. */
function write(control: HTMLInputElement | HTMLTextAreaElement, name: string, path: string): void {
  const { value } = control;
  const [start, end] = [control.selectionStart ?? value.length, control.selectionEnd ?? value.length];
  const [before, after] = [value.slice(0, start), value.slice(end)];
  let written = path || before.trim() || after.trim() ? `\${${name}${path}}` : `$${name}`;
  const isJson = /^\s*[[{]/.test(value);
  const isQuoted = (before.replace(/\\./g, "").split('"').length - 1) % 2 === 1;
  if (isJson && !isQuoted && before.trim()) written = JSON.stringify(path ? written : `$${name}`);
  control.setRangeText(written, start, end, "end");
  control.dispatchEvent(new Event("input", { bubbles: true }));
}
