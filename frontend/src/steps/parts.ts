// What the list of steps is drawn with: copies of templates, controls with labels, and what all parts of it share.
import { BadJson, type Json, type JsonObject } from "./json";
import type { Tools } from "./tools";

export type Control = HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement;

/** Where something is drawn: its place in the definition, as faults name it, and the step that it belongs to. */
export interface Place {
  at: string;
  step: Json;
}

/** What drawing needs of the editor. */
export interface Editing {
  readonly types: readonly string[];
  readonly tools: Tools;
  /** A copy of a template. */
  copy(template: string): DocumentFragment;
  /** A control has another value: the JSON is written again, and nothing drawn. */
  typed(): void;
  /**
   * Does what changes more than a value, draws the list again, tells what was done, and goes to `focus` at `at`.
   * It waits for what was typed and is not JSON yet, but in `gone`: what it takes away.
   */
  change(act: () => void, words: string, at: string, focus: string, gone?: HTMLElement): void;
  /** Lets a value that the step may refer to be picked for a control; of the definition itself, its result. */
  pick(control: HTMLInputElement | HTMLTextAreaElement, step: Json): void;
  /** Puts faults where they belong, after a part was drawn again. */
  tell(): void;
  isFolded(step: Json): boolean;
  fold(step: Json, folded: boolean): void;
  /** Whether a step is shown as JSON though there is a form for it. */
  isRaw(step: Json): boolean;
  setRaw(step: Json, raw: boolean): void;
}

let serial = 0;

export function newId(): string {
  serial += 1;
  return `step-part-${serial}`;
}

/** The one element that a template's copy must have. */
export function find<E extends HTMLElement = HTMLElement>(within: ParentNode, selector: string): E {
  const found = within.querySelector<E>(selector);
  if (!found) throw new Error(`The template has no ${selector}`);
  return found;
}

/** Gives a field's control an id, so that its label names it. */
export function label(control: HTMLElement): void {
  const name = control.closest(".field, .choice")?.querySelector("label");
  control.id = newId();
  name?.setAttribute("for", control.id);
}

/** Sets a member, or takes it away. What it was stays where it stands among the others. */
export function put(holder: JsonObject, member: string, value: Json | undefined): void {
  if (value === undefined) holder.delete(member);
  else holder.set(member, value);
}

/** A control for a member that is a text. Left empty, the step does not have it. */
export function bindText(control: Control, holder: JsonObject, member: string, at: string, editing: Editing): void {
  const held = holder.get(member);
  control.value = typeof held === "string" ? held : "";
  label(control);
  const field = control.closest<HTMLElement>(".field");
  if (field) field.dataset["at"] = `${at}.${member}`;
  control.addEventListener("input", () => {
    if (control.value !== "" || holder.get(member) !== "") put(holder, member, control.value || undefined);
    editing.typed();
  });
}

/** Says at a control what is wrong with what was typed, so that nothing else is sent in its place. */
export function judge(control: HTMLInputElement | HTMLTextAreaElement, words: string): void {
  control.setCustomValidity(words);
  const field = control.closest(".field");
  field?.querySelector(".own-fault")?.remove();
  control.toggleAttribute("aria-invalid", false);
  if (!words || !field) return;
  control.setAttribute("aria-invalid", "true");
  const told = document.createElement("p");
  told.className = "field-errors own-fault";
  told.setAttribute("role", "alert");
  told.textContent = words;
  field.append(told);
}

/** Does what reads a control. Where that is not JSON, says so there, and does nothing else; whether it was read. */
export function readJudged(control: HTMLInputElement | HTMLTextAreaElement, read: () => void, more = ""): boolean {
  try {
    read();
  } catch (fault) {
    if (!(fault instanceof BadJson)) throw fault;
    judge(control, `It is not JSON: ${fault.message}.${more}`);
    return false;
  }
  judge(control, "");
  return true;
}
