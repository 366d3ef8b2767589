// Draws steps as cards: what each calls, with what, what it gives, and the steps within it.
import { startCall } from "./calls";
import { drawCondition } from "./conditions";
import {
  CALL,
  duplicateStep,
  hasForm,
  moveStep,
  newComparison,
  newStep,
  typeOf,
  wordsOf,
} from "./definition";
import { drawJson, drawMember } from "./fields";
import type { Json, JsonObject } from "./json";
import { type Editing, bindText, find, label, newId, put } from "./parts";
import { branchNumber, numbersWithin, stepNumber } from "./scope";

/** Where a list of steps stands, and what it is called. */
interface Standing {
  at: string;
  /** What its steps' numbers begin with. */
  before: string;
  label: string;
}

/** A list of steps in its holder. Where it is empty and `optional`, the holder does not have it. */
interface Holding extends Standing {
  holder: JsonObject;
  member: string;
  optional?: boolean;
}

interface StepList extends Standing {
  list: Json[];
  /** What follows where a step was added or removed. */
  keep: () => void;
}

const MOST_BRANCHES = 20;

export function drawSteps(host: HTMLElement, steps: Holding, editing: Editing): void {
  const { holder, member, optional } = steps;
  const list = holder.get(member) ?? [];
  if (!Array.isArray(list)) return;
  const keep = (): void => put(holder, member, optional && list.length === 0 ? undefined : list);
  drawList(host, { ...steps, list, keep }, editing);
}

function drawList(host: HTMLElement, steps: StepList, editing: Editing): void {
  const { list, at, before, label: words, keep } = steps;
  host.replaceChildren(editing.copy("steps"));
  const frame = find(host, ".steps-list");
  frame.dataset["at"] = at;
  frame.setAttribute("aria-label", words);
  const cards = find(frame, "[data-list]");
  for (const [index, step] of list.entries()) cards.append(drawCard(step, index, steps, editing));
  for (const type of editing.types) {
    const copy = editing.copy("add");
    const button = find(copy, "button");
    const named = editing.types.length === 1 ? "Add step" : `Add ${type === CALL ? "call" : type}`;
    find(copy, "[data-words]").textContent = named;
    button.setAttribute("aria-label", before ? `${named} to ${words}` : named);
    button.dataset["type"] = type;
    button.addEventListener("click", () => {
      const place = `${at}[${list.length}]`;
      const told = `Step ${stepNumber(before, list.length)} is added.`;
      const act = (): void => {
        const step = newStep(type);
        editing.fold(step, false);
        list.push(step);
        keep();
      };
      editing.change(act, told, place, ".step-body :is(input, select, textarea, button)");
    });
    find(frame, ":scope > [data-add]").append(copy);
  }
}

function drawCard(step: Json, index: number, steps: StepList, editing: Editing): DocumentFragment {
  const { list } = steps;
  const copy = editing.copy("card");
  const card = find(copy, ".step");
  const at = `${steps.at}[${index}]`;
  const number = stepNumber(steps.before, index);
  card.dataset["at"] = at;
  card.dataset["number"] = number;
  const body = find(card, "[data-body]");
  const words = find(card, ".step-title [data-words]");
  find(card, "[data-number]").textContent = number;
  foldBy(card, step, editing);
  startActions(card, index, steps, editing);
  if (hasForm(step, editing.types) && !editing.isRaw(step)) {
    const tell = (): void => void (words.textContent = wordsOf(step));
    tell();
    drawForm(body, step, at, number, editing);
    body.addEventListener("input", tell);
    body.addEventListener("change", tell);
    return copy;
  }
  words.textContent = step instanceof Map ? `${wordsOf(step)} (as JSON)` : "As JSON";
  const set = (value: Json): void => {
    editing.setRaw(value, true);
    list[index] = value;
  };
  drawJson(body, () => list[index] ?? null, set, editing);
  const back = find<HTMLButtonElement>(body, "[data-as-form]");
  back.hidden = !hasForm(step, editing.types);
  body.addEventListener("input", () => void (back.hidden = !hasForm(list[index], editing.types)));
  back.addEventListener("click", () => {
    const held = list[index] ?? null;
    editing.change(() => editing.setRaw(held, false), "", at, "[data-as-json]");
  });
  return copy;
}

function foldBy(card: HTMLElement, step: Json, editing: Editing): void {
  const button = find(card, "[data-fold]");
  const body = find(card, ".step-body");
  body.id = newId();
  button.setAttribute("aria-controls", body.id);
  const show = (folded: boolean): void => {
    body.hidden = folded;
    button.setAttribute("aria-expanded", String(!folded));
  };
  show(editing.isFolded(step));
  button.addEventListener("click", () => {
    editing.fold(step, !body.hidden);
    show(!body.hidden);
  });
}

function startActions(card: HTMLElement, index: number, steps: StepList, editing: Editing): void {
  const { list, at, before, keep } = steps;
  const place = (to: number): string => `${at}[${to}]`;
  const named = (to: number): string => stepNumber(before, to);
  const number = named(index);
  const acts: Readonly<Record<string, readonly [string, boolean, () => void]>> = {
    up: [
      `Move step ${number} up`,
      index > 0,
      () => {
        const told = `Step ${number} is step ${named(index - 1)} now.`;
        editing.change(() => moveStep(list, index, -1), told, place(index - 1), "[data-act=up]");
      },
    ],
    down: [
      `Move step ${number} down`,
      index < list.length - 1,
      () => {
        const told = `Step ${number} is step ${named(index + 1)} now.`;
        editing.change(() => moveStep(list, index, 1), told, place(index + 1), "[data-act=down]");
      },
    ],
    duplicate: [
      `Duplicate step ${number}`,
      true,
      () => {
        const told = `Step ${named(index + 1)} is a copy of step ${number}.`;
        editing.change(() => duplicateStep(list, index), told, place(index + 1), "[data-fold]");
      },
    ],
    remove: [
      `Remove step ${number}`,
      true,
      () => {
        const next = list.length > 1 ? place(Math.min(index, list.length - 2)) : at;
        const act = (): void => {
          list.splice(index, 1);
          keep();
        };
        const focus = list.length > 1 ? "[data-fold]" : "[data-add] button";
        editing.change(act, `Step ${number} is removed.`, next, focus, card);
      },
    ],
  };
  for (const button of card.querySelectorAll<HTMLButtonElement>(".step-actions [data-act]")) {
    const [words, there, act] = acts[button.dataset["act"] ?? ""] ?? ["", false, () => undefined];
    button.setAttribute("aria-label", words);
    button.title = words;
    button.disabled = !there;
    button.addEventListener("click", act);
  }
}

function drawForm(body: HTMLElement, step: JsonObject, at: string, number: string, editing: Editing): void {
  const type = typeOf(step);
  body.replaceChildren(editing.copy(type));
  for (const control of body.querySelectorAll<HTMLInputElement>("[data-member]")) {
    const member = control.dataset["member"] ?? "";
    // Both words for it are good; the one that is there is kept.
    const kept = member === "output" && step.has("output_variable") ? "output_variable" : member;
    bindText(control, step, kept, at, editing);
  }
  const goesOn = find<HTMLInputElement>(body, "[data-goes-on]");
  label(goesOn);
  goesOn.checked = step.get("continue_on_failure") === true;
  goesOn.addEventListener("change", () => {
    if (goesOn.checked !== (step.get("continue_on_failure") === true)) {
      put(step, "continue_on_failure", goesOn.checked || undefined);
    }
    editing.typed();
  });
  find(body, "[data-as-json]").addEventListener("click", () => {
    editing.change(() => editing.setRaw(step, true), "", at, "textarea");
  });
  for (const host of body.querySelectorAll<HTMLElement>("[data-steps]")) {
    const member = host.dataset["steps"] ?? "";
    const before = numbersWithin(number, member);
    const words = `${host.dataset["label"] ?? ""} of step ${number}`;
    const list = { holder: step, member, at: `${at}.${member}`, before, label: words, optional: member === "else" };
    drawSteps(host, list, editing);
    host.prepend(heading(host.dataset["label"] ?? ""));
  }
  if (type === CALL) startCall(body, step, at, editing);
  if (type === "condition") condition(body, step, "if", at, editing);
  if (type === "loop") startLoop(body, step, at, editing);
  if (type === "parallel") drawBranches(body, step, at, number, editing);
}

function heading(words: string): HTMLElement {
  const made = document.createElement("p");
  made.className = "label";
  made.textContent = words;
  return made;
}

function condition(body: HTMLElement, step: JsonObject, member: string, at: string, editing: Editing): void {
  const host = find(body, `:scope > [data-condition="${member}"]`);
  const held = { get: () => step.get(member), set: (value: Json | undefined) => put(step, member, value) };
  drawCondition(host, host.dataset["label"] ?? "", held, { at: `${at}.${member}`, step }, editing);
}

function startLoop(body: HTMLElement, step: JsonObject, at: string, editing: Editing): void {
  const way = find<HTMLSelectElement>(body, "[data-way]");
  const now = step.has("while") ? "while" : "over";
  way.value = now;
  label(way);
  if (now === "while") condition(body, step, "while", at, editing);
  for (const part of body.querySelectorAll<HTMLElement>("[data-only]")) if (part.dataset["only"] !== now) part.remove();
  for (const host of body.querySelectorAll<HTMLElement>("[data-value]")) drawMember(host, step, { at, step }, editing);
  way.addEventListener("change", () => {
    const wanted = way.value;
    way.value = now;
    const turn = (): void => {
      for (const member of ["over", "as", "while"]) step.delete(member);
      if (wanted === "while") step.set("while", newComparison());
      else step.set("as", "item");
    };
    if (wanted !== now) editing.change(turn, "", at, "[data-way]");
  });
}

function drawBranches(body: HTMLElement, step: JsonObject, at: string, number: string, editing: Editing): void {
  const host = find(body, "[data-branches]");
  host.dataset["at"] = `${at}.branches`;
  const held = step.get("branches");
  const branches = Array.isArray(held) ? held : [];
  for (const [index, branch] of branches.entries()) {
    if (!Array.isArray(branch)) continue;
    const copy = editing.copy("branch");
    const steps = find(copy, "[data-steps]");
    const named = `Branch ${index + 1}`;
    const list = {
      list: branch,
      at: `${at}.branches[${index}]`,
      before: numbersWithin(branchNumber(number, index), "steps"),
      label: `${named} of step ${number}`,
      keep: () => undefined,
    };
    drawList(steps, list, editing);
    steps.prepend(heading(named));
    const remove = find<HTMLButtonElement>(copy, "[data-remove-branch]");
    find(remove, "[data-words]").textContent = `Remove branch ${index + 1}`;
    remove.disabled = branches.length <= 2;
    remove.addEventListener("click", () => {
      const gone = remove.closest<HTMLElement>(".step-branch") ?? remove;
      editing.change(() => void branches.splice(index, 1), `${named} is removed.`, at, "[data-add-branch]", gone);
    });
    host.append(copy);
  }
  const add = find<HTMLButtonElement>(body, "[data-add-branch]");
  add.disabled = branches.length >= MOST_BRANCHES;
  add.addEventListener("click", () => {
    const place = `${at}.branches[${branches.length}]`;
    const act = (): void => void step.set("branches", [...branches, []]);
    editing.change(act, `Branch ${branches.length + 1} is added.`, place, "[data-add] button");
  });
}
