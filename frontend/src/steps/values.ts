// Values as people type them into one control, and back. What is shown is always read as the very same value.
import { BadJson, type Json, readJson, writeJson } from "./json";

/** `text`: every character is the text's own. `json`: JSON, where what is no JSON is a text without its quotes. */
export type Writing = "text" | "json";

/** How a value is written for a control that is meant for this type of JSON Schema. */
export function writingOf(value: Json | undefined, type: string): Writing {
  if (type !== "string") return "json";
  return value === undefined || (typeof value === "string" && isSafe(value)) ? "text" : "json";
}

/** What a control shows of a value. */
export function shownAs(value: Json | undefined, writing: Writing): string {
  if (value === undefined) return "";
  if (typeof value === "string" && (writing === "text" || isPlain(value))) return value;
  return writeJson(value);
}

/** The value of what was typed; `undefined` where there is nothing. Throws `BadJson`. */
export function readAs(typed: string, writing: Writing): Json | undefined {
  if (writing === "text") return typed === "" ? undefined : typed;
  if (typed.trim() === "") return undefined;
  try {
    return readJson(typed);
  } catch (fault) {
    if (looksLikeJson(typed)) throw fault;
    return typed;
  }
}

/** Whether a control keeps every character of a text: lines end in one way only there. */
function isSafe(text: string): boolean {
  return text !== "" && !text.includes("\r");
}

/** Whether a text may stand without its quotes among JSON. */
function isPlain(text: string): boolean {
  if (!isSafe(text) || text.trim() === "" || looksLikeJson(text)) return false;
  try {
    readJson(text);
    return false;
  } catch (fault) {
    return fault instanceof BadJson;
  }
}

function looksLikeJson(text: string): boolean {
  return /^\s*[{["]/.test(text);
}
