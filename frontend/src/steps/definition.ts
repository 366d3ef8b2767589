// What a definition made of steps consists of, and which of its steps the list has a form for. Touches no page.
import { type Json, type JsonObject, Numeral, copyJson, writeShort } from "./json";

export const CALL = "tool_call";

const MOST_WORDS = 120;
const SHARED = ["type", "name", "continue_on_failure"];
const OUTPUTS = ["output", "output_variable"];
const MEMBERS: Readonly<Record<string, readonly string[]>> = {
  [CALL]: [...SHARED, ...OUTPUTS, "tool", "args"],
  condition: [...SHARED, "if", "then", "else"],
  loop: [...SHARED, ...OUTPUTS, "over", "as", "while", "steps", "max_iterations"],
  parallel: [...SHARED, ...OUTPUTS, "branches"],
};

const isText = (value: Json | undefined): boolean => value === undefined || typeof value === "string";
const isFlag = (value: Json | undefined): boolean => value === undefined || typeof value === "boolean";
const isList = (value: Json | undefined): boolean => value === undefined || Array.isArray(value);
const isNumber = (value: Json | undefined): boolean => value === undefined || value instanceof Numeral;
const isObject = (value: Json | undefined): boolean => value === undefined || value instanceof Map;

const SHAPES: Readonly<Record<string, (value: Json | undefined) => boolean>> = {
  name: isText,
  continue_on_failure: isFlag,
  output: isText,
  output_variable: isText,
  tool: isText,
  args: isObject,
  then: isList,
  else: isList,
  as: isText,
  steps: isList,
  max_iterations: isNumber,
  branches: (value) => value === undefined || (Array.isArray(value) && value.every(Array.isArray)),
};

export function typeOf(step: JsonObject): string {
  const type = step.get("type");
  return type === undefined ? CALL : typeof type === "string" ? type : "";
}

/** Whether the list has a form that shows all of a step; others are shown as JSON. */
export function hasForm(step: Json | undefined, types: readonly string[]): step is JsonObject {
  if (!(step instanceof Map)) return false;
  const type = typeOf(step);
  const members = MEMBERS[type];
  if (!members || !types.includes(type)) return false;
  if (step.has("output") && step.has("output_variable")) return false;
  if (step.has("over") && step.has("while")) return false;
  return [...step].every(([name, value]) => members.includes(name) && (SHAPES[name]?.(value) ?? true));
}

/** Why the list cannot show a definition at all; empty where it can. */
export function whyNoList(definition: Json): string {
  if (!(definition instanceof Map)) return "The definition is no JSON object.";
  if (!isList(definition.get("steps"))) return "steps is no list.";
  if (!isObject(definition.get("parameters"))) return "parameters is no object.";
  return "";
}

/** A step of a type as it begins. */
export function newStep(type: string): JsonObject {
  switch (type) {
    case "condition":
      return new Map<string, Json>([
        ["type", type],
        ["if", newComparison()],
        ["then", []],
      ]);
    case "loop":
      return new Map<string, Json>([
        ["type", type],
        ["as", "item"],
        ["steps", []],
      ]);
    case "parallel":
      return new Map<string, Json>([
        ["type", type],
        ["branches", [[], []]],
      ]);
  }
  return new Map<string, Json>([["tool", ""]]);
}

export function newComparison(): JsonObject {
  return new Map<string, Json>([["operator", "eq"]]);
}

/** Moves an item of a list by one place, where there is room. */
export function moveStep(list: Json[], at: number, by: -1 | 1): void {
  const [step, other] = [list[at], list[at + by]];
  if (step === undefined || other === undefined) return;
  list[at] = other;
  list[at + by] = step;
}

export function duplicateStep(list: Json[], at: number): void {
  const step = list[at];
  if (step !== undefined) list.splice(at + 1, 0, copyJson(step));
}

/** The name of what a step gives, by whichever of its two words. */
export function outputOf(step: JsonObject): string {
  const output = step.get("output") ?? step.get("output_variable");
  return typeof output === "string" ? output : "";
}

/** How many steps there are, on all levels. */
export function countSteps(steps: Json | undefined): number {
  if (Array.isArray(steps)) return steps.reduce<number>((sum, step) => sum + countSteps(step), 0);
  if (!(steps instanceof Map)) return 0;
  return ["then", "else", "steps", "branches"].reduce((sum, member) => sum + countSteps(steps.get(member)), 1);
}

/** A step in a few words. */
export function wordsOf(step: JsonObject): string {
  const output = outputOf(step);
  const name = step.get("name");
  const words = `${actionOf(step)}${output ? ` → ${output}` : ""}`;
  return typeof name === "string" && name ? `${name}: ${words}` : words;
}

function actionOf(step: JsonObject): string {
  switch (typeOf(step)) {
    case "condition":
      return `If ${conditionWords(step.get("if"))}`;
    case "loop":
      if (step.has("while")) return `While ${conditionWords(step.get("while"))}`;
      return `For each ${plain(step.get("as") ?? "item")} of ${plain(step.get("over"))}`;
    case "parallel": {
      const branches = step.get("branches");
      return `At the same time: ${Array.isArray(branches) ? branches.length : 0} branches`;
    }
  }
  const args = step.get("args");
  const given = args instanceof Map ? [...args].map(([name, value]) => `${name}: ${plain(value)}`).join(", ") : "";
  const called = step.get("tool") ? plain(step.get("tool")) : "No tool yet";
  if (!given) return called;
  return `${called}(${given.length > MOST_WORDS ? `${given.slice(0, MOST_WORDS)}…` : given})`;
}

const SIGNS: Readonly<Record<string, string>> = { eq: "=", ne: "≠", gt: ">", lt: "<", gte: "≥", lte: "≤" };

function conditionWords(condition: Json | undefined): string {
  if (!(condition instanceof Map)) return "…";
  for (const [member, word] of [
    ["all", " and "],
    ["any", " or "],
  ] as const) {
    const inner = condition.get(member);
    if (Array.isArray(inner)) return inner.map((each) => conditionWords(each)).join(word) || "…";
  }
  if (condition.has("not")) return `not ${conditionWords(condition.get("not"))}`;
  const operator = plain(condition.get("operator"));
  const left = plain(condition.get("left"));
  if (operator === "exists" || operator === "empty") return `${left} ${operator === "empty" ? "is empty" : operator}`;
  return `${left} ${SIGNS[operator] ?? operator} ${plain(condition.get("right"))}`;
}

function plain(value: Json | undefined): string {
  if (value === undefined || value === "") return "…";
  return typeof value === "string" ? value : writeShort(value);
}
