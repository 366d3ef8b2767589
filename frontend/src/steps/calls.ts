// Draws what a step calls: the tool, and a field for each of its arguments.
import { placeOf } from "./faults";
import { drawValue } from "./fields";
import type { Json, JsonObject } from "./json";
import { type Editing, find, label, newId } from "./parts";
import type { Argument } from "./tools";

/** An argument that nothing is known of. */
const ANY = { type: "", help: "", required: false, default: "", choices: [], long: false };

/** The arguments of a call, and which tool it is. */
export function startCall(body: HTMLElement, step: JsonObject, at: string, editing: Editing): void {
  const control = find<HTMLInputElement>(body, `[data-member="tool"]`);
  control.setAttribute("list", "callable-tools");
  const draw = (): void => drawArguments(body, step, at, editing);
  const learn = async (): Promise<void> => {
    if (!(await editing.tools.learn(control.value))) return;
    draw();
    editing.tell();
  };
  draw();
  void learn();
  const offered = (): boolean => [...(control.list?.options ?? [])].some((option) => option.value === control.value);
  control.addEventListener("input", () => {
    draw();
    if (offered()) void learn();
  });
  control.addEventListener("change", () => void learn());
}

function drawArguments(body: HTMLElement, step: JsonObject, at: string, editing: Editing): void {
  const host = find(body, "[data-arguments]");
  // What is not JSON yet is nowhere but in its control.
  if (host.querySelector(":invalid")) return;
  const held = host.contains(document.activeElement) ? document.activeElement?.closest<HTMLElement>("[data-at]") : null;
  host.replaceChildren();
  host.dataset["at"] = `${at}.args`;
  const name = step.get("tool");
  const tool = typeof name === "string" ? editing.tools.get(name) : undefined;
  const about = find(body, "[data-about-tool]");
  const said = [tool?.title, tool?.description].filter(Boolean).join(": ");
  about.textContent = tool === null ? "There is no tool of this name." : said;
  about.hidden = !about.textContent;
  about.id ||= newId();
  find(body, `[data-member="tool"]`).setAttribute("aria-describedby", about.id);
  const args = step.get("args");
  const known = [...(tool?.arguments ?? [])].sort((one, other) => Number(other.required) - Number(one.required));
  for (const argument of known) drawArgument(host, argument, step, at, editing);
  for (const other of args instanceof Map ? args.keys() : []) {
    if (known.some((argument) => argument.name === other)) continue;
    const note = tool && !tool.open ? "the tool has no such argument" : "";
    drawArgument(host, { ...ANY, name: other, label: other }, step, at, editing, note);
  }
  if (name && (!tool || tool.open)) host.append(adding(step, at, editing));
  const again = held ? placeOf(host, held.dataset["at"] ?? "") : null;
  again?.querySelector<HTMLElement>("[data-control]")?.focus();
}

function drawArgument(
  host: HTMLElement,
  argument: Argument,
  step: JsonObject,
  at: string,
  editing: Editing,
  note = "",
): void {
  const { name } = argument;
  const field = document.createElement("div");
  host.append(field);
  const set = (value: Json | undefined): void => {
    const args = step.get("args");
    if (!(args instanceof Map)) {
      if (value !== undefined) step.set("args", new Map([[name, value]]));
    } else if (value !== undefined) args.set(name, value);
    else if (args.delete(name) && args.size === 0) step.delete("args");
  };
  const shown = {
    label: argument.label === name ? name : `${argument.label} (${name})`,
    note: argument.required ? "required" : note,
    help: argument.help,
    type: argument.type,
    long: argument.long,
    choices: argument.type === "boolean" ? ["true", "false"] : argument.choices,
    placeholder: argument.default,
    get: () => {
      const args = step.get("args");
      return args instanceof Map ? args.get(name) : undefined;
    },
    set,
  };
  drawValue(field, shown, { at: `${at}.args.${name}`, step }, editing);
}

/** Where an argument is added that the tool does not tell of. */
function adding(step: JsonObject, at: string, editing: Editing): DocumentFragment {
  const copy = editing.copy("argument");
  const control = find<HTMLInputElement>(copy, "input");
  const add = (): void => {
    const name = control.value.trim();
    const args = step.get("args");
    if (!name || (args instanceof Map && args.has(name))) return;
    const act = (): void => {
      if (args instanceof Map) args.set(name, "");
      else step.set("args", new Map([[name, ""]]));
    };
    editing.change(act, `The argument ${name} is added.`, `${at}.args.${name}`, "[data-control]");
  };
  label(control);
  control.addEventListener("keydown", (event) => {
    if (event.key === "Enter") add();
  });
  find(copy, "button").addEventListener("click", add);
  return copy;
}
