// Draws the inputs of a definition, its parameters, as rows. What a row has no control for stays, as JSON.
import { drawJson } from "./fields";
import { BadJson, type Json, type JsonObject, readJson, writeJson } from "./json";
import { type Control, type Editing, find, judge, label, put, readJudged } from "./parts";
import { type Writing, readAs, shownAs, writingOf } from "./values";

const TYPES = ["string", "integer", "number", "boolean", "array", "object"];
const SHOWN = ["type", "description", "required", "default"];

function hasRow(spec: Json): spec is JsonObject {
  if (!(spec instanceof Map)) return false;
  const [type, description, required] = ["type", "description", "required"].map((member) => spec.get(member));
  if (typeof type !== "string" || !TYPES.includes(type)) return false;
  if (description !== undefined && typeof description !== "string") return false;
  return required === undefined || typeof required === "boolean";
}

export function drawInputs(part: HTMLElement, definition: JsonObject, editing: Editing): void {
  const list = find(part, "[data-inputs]");
  const held = definition.get("parameters");
  const parameters: JsonObject = held instanceof Map ? held : new Map();
  for (const [name, spec] of parameters) list.append(drawInput(name, spec, parameters, definition, editing));
  find(part, "[data-add-input]").addEventListener("click", () => {
    const name = freeName(parameters);
    const act = (): void => {
      parameters.set(name, new Map([["type", "string"]]));
      definition.set("parameters", parameters);
    };
    editing.change(act, `The input ${name} is added.`, `parameters.${name}`, "input");
  });
}

function freeName(parameters: JsonObject): string {
  for (let number = 1; ; number += 1) if (!parameters.has(`input${number}`)) return `input${number}`;
}

function drawInput(
  called: string,
  spec: Json,
  parameters: JsonObject,
  definition: JsonObject,
  editing: Editing,
): DocumentFragment {
  const copy = editing.copy("input");
  const row = find(copy, ".parameter");
  let name = called;
  row.dataset["at"] = `parameters.${name}`;
  row.setAttribute("aria-label", `Input ${name}`);
  const part = <E extends Control>(which: string): E => {
    const control = find<E>(row, `[data-part="${which}"]`);
    label(control);
    return control;
  };
  const remove = find(row, "[data-remove-input]");
  remove.setAttribute("aria-label", `Remove input ${name}`);
  remove.addEventListener("click", () => {
    const act = (): void => {
      parameters.delete(name);
      if (parameters.size === 0) definition.delete("parameters");
    };
    editing.change(act, `The input ${name} is removed.`, "parameters", "[data-add-input]", row);
  });
  const naming = part<HTMLInputElement>("name");
  naming.value = name;
  naming.addEventListener("input", () => {
    if (naming.value !== name && parameters.has(naming.value)) {
      judge(naming, "There is an input of this name.");
      return;
    }
    judge(naming, "");
    rename(parameters, name, naming.value);
    name = naming.value;
    row.dataset["at"] = `parameters.${name}`;
    row.setAttribute("aria-label", `Input ${name}`);
    remove.setAttribute("aria-label", `Remove input ${name}`);
    editing.typed();
  });
  if (hasRow(spec)) bindRow(spec, part, editing);
  else {
    for (const which of ["type", "description", "need", "default"]) {
      find(row, `[data-part="${which}"]`).closest(".field")?.remove();
    }
    const host = find(row, ".parameter-more");
    const whole = document.createElement("div");
    whole.className = "parameter-more";
    host.replaceWith(whole);
    drawJson(whole, () => parameters.get(name) ?? null, (value) => void parameters.set(name, value), editing);
    find(whole, "[data-as-form]").remove();
  }
  return copy;
}

/** Another name, at the same place. */
function rename(parameters: JsonObject, from: string, to: string): void {
  const members = [...parameters];
  parameters.clear();
  for (const [name, value] of members) parameters.set(name === from ? to : name, value);
}

function bindRow(spec: JsonObject, part: <E extends Control>(which: string) => E, editing: Editing): void {
  const isNeeded = (): boolean => (spec.get("required") ?? !spec.has("default")) === true;
  const [type, description, need] = [part("type"), part("description"), part("need")];
  const [fallback, rest] = [part<HTMLInputElement>("default"), part<HTMLTextAreaElement>("rest")];
  const text = spec.get("description");
  type.value = String(spec.get("type"));
  type.addEventListener("change", () => {
    spec.set("type", type.value);
    showDefault();
    editing.typed();
  });
  description.value = typeof text === "string" ? text : "";
  description.addEventListener("input", () => {
    if (description.value || spec.get("description") !== "") put(spec, "description", description.value || undefined);
    editing.typed();
  });
  const showNeed = (): void => {
    need.value = isNeeded() ? "required" : "optional";
  };
  showNeed();
  need.addEventListener("change", () => {
    const needed = need.value === "required";
    if (needed !== isNeeded()) {
      spec.delete("required");
      if (needed) spec.delete("default");
      if (needed !== isNeeded()) spec.set("required", needed);
    }
    if (needed) fallback.value = "";
    editing.typed();
  });
  let writing: Writing = "json";
  const showDefault = (): void => {
    writing = writingOf(spec.get("default"), type.value);
    fallback.value = shownAs(spec.get("default"), writing);
    judge(fallback, "");
  };
  showDefault();
  fallback.addEventListener("input", () => {
    if (!readJudged(fallback, () => put(spec, "default", readAs(fallback.value, writing)))) return;
    // What has a default need not be given.
    if (spec.has("default") && spec.get("required") === true) spec.delete("required");
    showNeed();
    editing.typed();
  });
  const others = new Map([...spec].filter(([member]) => !SHOWN.includes(member)));
  if (others.size > 0) {
    rest.value = writeJson(others);
    const fold = rest.closest("details");
    if (fold) fold.open = true;
  }
  const readRest = (): void => {
    const value = rest.value.trim() === "" ? new Map<string, Json>() : readJson(rest.value);
    if (!(value instanceof Map)) throw new BadJson("an object is expected");
    const own = [...value.keys()].find((member) => SHOWN.includes(member));
    if (own !== undefined) throw new BadJson(`${own} has a field of its own`);
    for (const member of [...spec.keys()]) if (!SHOWN.includes(member) && !value.has(member)) spec.delete(member);
    for (const [member, each] of value) spec.set(member, each);
  };
  rest.addEventListener("input", () => {
    if (readJudged(rest, readRest)) editing.typed();
  });
}
