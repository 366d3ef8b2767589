// Which values a step may refer to: the inputs, and what earlier steps give for certain. As the server judges it.
import { CALL, outputOf, typeOf } from "./definition";
import type { Json, JsonObject } from "./json";

/** A name that has a value, and where it comes from in words. */
export interface Known {
  name: string;
  from: string;
  /** The tool of whose result it is a part, if it is one's, and which part: the whole, or `.rows[0]`. */
  tool: string;
  part: string;
}

type Names = Map<string, Known>;

/** What is known where each step begins, by the step; and, by the definition itself, where its result is made. */
export function knownAt(definition: JsonObject): Map<Json, Known[]> {
  const seen = new Map<Json, Known[]>();
  const names: Names = new Map();
  const parameters = definition.get("parameters");
  if (parameters instanceof Map) {
    for (const name of parameters.keys()) names.set(name, { name, from: "input", tool: "", part: "" });
  }
  walk(definition.get("steps"), names, "", seen);
  seen.set(definition, [...names.values()]);
  return seen;
}

/** The number of a step among people, by those of the list that it stands in: 2, then 1. */
export function stepNumber(before: string, at: number): string {
  return `${before}${at + 1}`;
}

export function branchNumber(number: string, at: number): string {
  return `${number} branch ${at + 1}`;
}

/** What the numbers of steps begin with that stand in a member of a step, or in a branch. */
export function numbersWithin(number: string, member: string): string {
  return member === "steps" ? `${number}.` : `${number} ${member} `;
}

function walk(steps: Json | undefined, names: Names, before: string, seen: Map<Json, Known[]>): void {
  if (!Array.isArray(steps)) return;
  for (const [at, step] of steps.entries()) {
    if (!(step instanceof Map)) continue;
    seen.set(step, [...names.values()]);
    enter(step, names, stepNumber(before, at), seen);
  }
}

function enter(step: JsonObject, names: Names, number: string, seen: Map<Json, Known[]>): void {
  const goesOn = step.get("continue_on_failure") === true;
  const output = outputOf(step);
  const from = `step ${number}`;
  switch (typeOf(step)) {
    case "condition": {
      const [then, otherwise] = [new Map(names), new Map(names)];
      walk(step.get("then"), then, numbersWithin(number, "then"), seen);
      walk(step.get("else"), otherwise, numbersWithin(number, "else"), seen);
      // Only what both ways set has a value for certain.
      if (!goesOn) for (const [name, known] of then) if (otherwise.has(name)) names.set(name, known);
      return;
    }
    case "loop": {
      const within = new Map(names);
      const item = step.get("as") ?? "item";
      if (!step.has("while") && typeof item === "string") {
        within.set(item, { name: item, from: `each of ${from}`, ...itemOf(step.get("over"), names) });
      }
      walk(step.get("steps"), within, numbersWithin(number, "steps"), seen);
      break;
    }
    case "parallel": {
      const branches = step.get("branches");
      const before = new Map(names);
      for (const [at, branch] of (Array.isArray(branches) ? branches : []).entries()) {
        const within = new Map(before);
        walk(branch, within, numbersWithin(branchNumber(number, at), "steps"), seen);
        if (!goesOn) for (const [name, known] of within) names.set(name, known);
      }
      break;
    }
  }
  const tool = step.get("tool");
  const called = typeOf(step) === CALL && typeof tool === "string" ? tool : "";
  if (output) names.set(output, { name: output, from, tool: called, part: "" });
}

/** What an item of a list is, where the list is a part of a tool's result. */
function itemOf(over: Json | undefined, names: Names): { tool: string; part: string } {
  const written = typeof over === "string" ? /^\$(?:(\w+)|\{(\w+)([^{}$\s]*)\})$/.exec(over) : null;
  const known = names.get(written?.[1] ?? written?.[2] ?? "");
  return known?.tool ? { tool: known.tool, part: `${known.part}${written?.[3] ?? ""}[0]` } : { tool: "", part: "" };
}
