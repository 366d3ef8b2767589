// Fields for values: of an argument, a condition, the result. Each has a button that offers what may be referred to.
import { type Json, type JsonObject, readJson, writeJson } from "./json";
import { type Editing, type Place, find, label, newId, put, readJudged } from "./parts";
import { readAs, shownAs, writingOf } from "./values";

export interface ValueField {
  label: string;
  note?: string;
  help?: string;
  /** As of JSON Schema; anything else is any. */
  type?: string;
  long?: boolean;
  choices?: readonly string[];
  placeholder?: string;
  get: () => Json | undefined;
  set: (value: Json | undefined) => void;
}

const MOST_LINE = 200;

/** Makes `host` the field of a value. */
export function drawValue(host: HTMLElement, field: ValueField, place: Place, editing: Editing): void {
  host.replaceChildren(editing.copy("value"));
  host.classList.add("field");
  host.dataset["at"] = place.at;
  const value = field.get();
  const writing = writingOf(value, field.type ?? "");
  const text = shownAs(value, writing);
  const control = controlFor(find<HTMLInputElement>(host, "[data-control]"), field, text);
  control.value = text;
  label(control);
  if (field.placeholder) control.placeholder = field.placeholder;
  find(host, "[data-label]").textContent = field.label;
  const asJson = field.type === "string" && writing === "json" ? "as JSON" : "";
  find(host, "[data-note]").textContent = [field.note, asJson].filter(Boolean).join(", ");
  const help = find(host, "[data-help]");
  if (field.help) {
    help.textContent = field.help;
    help.id = newId();
    control.setAttribute("aria-describedby", help.id);
  } else help.remove();
  offerChoices(find(host, "[data-choices]"), control, field.choices ?? []);
  const pick = find(host, "[data-pick]");
  pick.title = "Pick a value";
  pick.setAttribute("aria-label", `Pick a value for ${field.label}`);
  pick.addEventListener("click", () => editing.pick(control, place.step));
  control.addEventListener("input", () => {
    const read = (): void => field.set(readAs(control.value, writing));
    if (readJudged(control, read, " A text that begins so is written in quotes.")) editing.typed();
  });
}

/** Makes `host` the field of a member, whose words stand at it in the template. */
export function drawMember(host: HTMLElement, holder: JsonObject, place: Place, editing: Editing): void {
  const { value: member = "", label = "", help = "", type = "", placeholder = "" } = host.dataset;
  const field: ValueField = {
    label,
    help,
    type,
    placeholder,
    long: host.dataset["long"] !== undefined,
    get: () => holder.get(member),
    set: (value) => put(holder, member, value),
  };
  const at = place.at ? `${place.at}.${member}` : member;
  drawValue(host, field, { ...place, at }, editing);
  if (host.dataset["plain"] !== undefined) find(host, "[data-pick]").remove();
}

/** A value with several lines gets several. */
function controlFor(line: HTMLInputElement, field: ValueField, text: string): HTMLInputElement | HTMLTextAreaElement {
  if (!field.long && !text.includes("\n") && text.length <= MOST_LINE) return line;
  const area = document.createElement("textarea");
  for (const { name, value } of line.attributes) area.setAttribute(name, value);
  area.rows = Math.min(Math.max(text.split("\n").length, 2), 12);
  line.replaceWith(area);
  return area;
}

function offerChoices(list: HTMLElement, control: HTMLElement, choices: readonly string[]): void {
  if (choices.length === 0 || !(control instanceof HTMLInputElement)) {
    list.remove();
    return;
  }
  list.id = newId();
  control.setAttribute("list", list.id);
  for (const choice of choices) {
    const option = document.createElement("option");
    option.value = choice;
    list.append(option);
  }
}

/** Makes `host` a field of JSON that is whole: `set` is told of each text that is JSON. */
export function drawJson(host: HTMLElement, get: () => Json, set: (value: Json) => void, editing: Editing): void {
  host.append(editing.copy("json"));
  const control = find<HTMLTextAreaElement>(host, "textarea");
  control.value = writeJson(get());
  label(control);
  control.rows = Math.min(Math.max(control.value.split("\n").length, 3), 16);
  control.addEventListener("input", () => {
    if (readJudged(control, () => set(readJson(control.value)))) editing.typed();
  });
}
