// Conditions of workflows as controls: comparisons, and all, any or none of several. What has another form stays JSON.
import { newComparison } from "./definition";
import { drawValue } from "./fields";
import type { Json, JsonObject } from "./json";
import { type Editing, type Place, find, label, put } from "./parts";

const TWO = ["eq", "ne", "gt", "lt", "gte", "lte", "contains"];
const ONE = ["exists", "empty"];
const MOST_CONDITIONS = 20;

interface Held {
  get: () => Json | undefined;
  set: (condition: Json | undefined) => void;
}

function isSeveral(kind: string): boolean {
  return kind === "all" || kind === "any";
}

/** What kind of condition it is: an operator, `all`, `any`, `not`; empty where there is no form for it. */
function kindOf(condition: Json | undefined): string {
  if (!(condition instanceof Map)) return "";
  const [only = ""] = condition.size === 1 ? condition.keys() : [];
  if (isSeveral(only)) return Array.isArray(condition.get(only)) ? only : "";
  if (only === "not") return only;
  const operator = condition.get("operator");
  if (typeof operator !== "string" || ![...TWO, ...ONE].includes(operator)) return "";
  const mine = ["left", "operator", "right"];
  const fits = [...condition.keys()].every((member) => mine.includes(member));
  return fits && !(ONE.includes(operator) && condition.has("right")) ? operator : "";
}

export function drawCondition(host: HTMLElement, words: string, held: Held, place: Place, editing: Editing): void {
  const condition = held.get();
  const kind = kindOf(condition);
  if (!kind || !(condition instanceof Map)) {
    const help = 'JSON: {"left": "$name", "operator": "exists"}';
    const field = { label: words, help, long: true, get: held.get, set: held.set };
    drawValue(host, field, place, editing);
    return;
  }
  host.replaceChildren(editing.copy("comparison"));
  host.classList.add("step-condition");
  host.dataset["at"] = place.at;
  const select = find<HTMLSelectElement>(host, "[data-operator]");
  find(host, "label").textContent = words;
  select.value = kind;
  label(select);
  find(host, ".field").dataset["at"] = `${place.at}.operator`;
  select.addEventListener("change", () => {
    if (select.value === kind) return;
    const turned = turn(condition, kind, select.value);
    select.value = kind;
    editing.change(() => held.set(turned), "", `${place.at}.operator`, "select");
  });
  if (isSeveral(kind)) drawSeveral(host, condition, kind, place, editing);
  else if (kind === "not") {
    const inner = addInner(host);
    const within = { get: () => condition.get("not"), set: (value: Json | undefined) => put(condition, "not", value) };
    drawCondition(inner, "Holds where", within, { ...place, at: `${place.at}.not` }, editing);
  } else drawSides(host, condition, kind, place, editing);
}

function drawSides(host: HTMLElement, condition: JsonObject, operator: string, place: Place, editing: Editing): void {
  const row = find(host, ".form-row");
  for (const side of ONE.includes(operator) ? ["left"] : ["left", "right"]) {
    const field = document.createElement("div");
    row.append(field);
    const shown = {
      label: side === "left" ? "Left" : "Right",
      placeholder: side === "left" ? "$name" : "",
      get: () => condition.get(side),
      set: (value: Json | undefined) => put(condition, side, value),
    };
    drawValue(field, shown, { ...place, at: `${place.at}.${side}` }, editing);
  }
}

function drawSeveral(host: HTMLElement, condition: JsonObject, kind: string, place: Place, editing: Editing): void {
  const list = condition.get(kind);
  if (!Array.isArray(list)) return;
  const below = `${place.at}.${kind}`;
  for (const at of list.keys()) {
    const inner = addInner(host);
    const held = { get: () => list[at], set: (value: Json | undefined) => void (list[at] = value ?? null) };
    const shown = document.createElement("div");
    inner.append(shown);
    drawCondition(shown, `Condition ${at + 1}`, held, { ...place, at: `${below}[${at}]` }, editing);
    const remove = document.createElement("button");
    remove.type = "button";
    remove.className = "button button-quiet";
    remove.textContent = `Remove condition ${at + 1}`;
    remove.addEventListener("click", () => {
      const told = `Condition ${at + 1} is removed.`;
      editing.change(() => void list.splice(at, 1), told, place.at, "[data-add-condition]", inner);
    });
    inner.append(remove);
  }
  const add = find<HTMLButtonElement>(host, ":scope > [data-add-here] [data-add-condition]");
  find(host, ":scope > [data-add-here]").hidden = list.length >= MOST_CONDITIONS;
  add.addEventListener("click", () => {
    const last = `${below}[${list.length}].operator`;
    editing.change(() => void list.push(newComparison()), "A condition is added.", last, "select");
  });
}

function addInner(host: HTMLElement): HTMLElement {
  const inner = document.createElement("div");
  inner.className = "step-inner";
  find(host, ":scope > [data-inner]").append(inner);
  return inner;
}

/** The condition as another kind, with as much of it as that kind has. */
function turn(condition: JsonObject, from: string, to: string): JsonObject {
  if (isSeveral(to) && isSeveral(from)) return new Map([[to, condition.get(from) ?? []]]);
  const whole = from === "not" ? (condition.get("not") ?? null) : condition;
  if (isSeveral(to)) return new Map<string, Json>([[to, [whole]]]);
  if (to === "not") return new Map([["not", condition]]);
  const held = isSeveral(from) ? condition.get(from) : whole;
  const [first] = Array.isArray(held) ? held : [held];
  const isComparison = first instanceof Map && kindOf(first) !== "" && first.has("operator");
  const turned: JsonObject = new Map(isComparison ? first : newComparison());
  turned.set("operator", to);
  if (ONE.includes(to)) turned.delete("right");
  return turned;
}
