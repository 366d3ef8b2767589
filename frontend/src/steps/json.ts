// JSON that is written back as it was read: numbers keep their digits, and members their order. Knows no definition.

/** A number, by its digits: `1.0`, and whole numbers that a JavaScript number would round. */
export class Numeral {
  constructor(readonly digits: string) {}
}

/** Unlike an object's, a map's members keep their order whatever they are called. */
export type JsonObject = Map<string, Json>;
export type Json = null | boolean | string | Numeral | Json[] | JsonObject;

/** The text is not JSON. The message says what is wrong, and where. */
export class BadJson extends Error {}

const MOST_LEVELS = 200;
const SPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const TEXT = /"[^"\\\u0000-\u001f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\u0000-\u001f]*)*"/y;
const WORDS: readonly [string, Json][] = [
  ["true", true],
  ["false", false],
  ["null", null],
];

class Reader {
  private at = 0;

  constructor(private readonly text: string) {}

  whole(): Json {
    const value = this.value(0);
    this.match(SPACE);
    if (this.at < this.text.length) throw this.fault("something follows the value");
    return value;
  }

  private value(level: number): Json {
    if (level > MOST_LEVELS) throw this.fault("it is nested too deeply");
    this.match(SPACE);
    switch (this.text[this.at]) {
      case "{":
        return this.object(level);
      case "[":
        return this.list(level);
      case '"':
        return this.string();
    }
    for (const [word, value] of WORDS) {
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length;
        return value;
      }
    }
    const digits = this.match(NUMBER);
    if (digits) return new Numeral(digits);
    throw this.fault("a value is expected");
  }

  private object(level: number): JsonObject {
    const members: JsonObject = new Map();
    this.at += 1;
    if (this.skip("}")) return members;
    do {
      this.match(SPACE);
      const name = this.string();
      if (members.has(name)) throw this.fault(`the key ${JSON.stringify(name)} stands twice in one object`);
      if (!this.skip(":")) throw this.fault("a colon is expected");
      members.set(name, this.value(level + 1));
    } while (this.skip(","));
    if (!this.skip("}")) throw this.fault("a comma or } is expected");
    return members;
  }

  private list(level: number): Json[] {
    const items: Json[] = [];
    this.at += 1;
    if (this.skip("]")) return items;
    do items.push(this.value(level + 1));
    while (this.skip(","));
    if (!this.skip("]")) throw this.fault("a comma or ] is expected");
    return items;
  }

  private string(): string {
    const written = this.match(TEXT);
    if (!written) throw this.fault("a text in quotes is expected");
    return JSON.parse(written) as string;
  }

  private skip(sign: string): boolean {
    this.match(SPACE);
    if (this.text[this.at] !== sign) return false;
    this.at += 1;
    return true;
  }

  private match(pattern: RegExp): string {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text)?.[0] ?? "";
    this.at += found.length;
    return found;
  }

  private fault(words: string): BadJson {
    const before = this.text.slice(0, this.at).split("\n");
    return new BadJson(`${words} (line ${before.length}, column ${(before.at(-1) ?? "").length + 1})`);
  }
}

/** The value of a text. Throws `BadJson`. */
export function readJson(text: string): Json {
  return new Reader(text).whole();
}

/** The value as text, a line a member, as the server writes it. */
export function writeJson(value: Json, margin = ""): string {
  const inner = `${margin}  `;
  if (value instanceof Numeral) return value.digits;
  if (Array.isArray(value)) {
    if (value.length === 0) return "[]";
    return `[\n${value.map((item) => inner + writeJson(item, inner)).join(",\n")}\n${margin}]`;
  }
  if (value instanceof Map) {
    if (value.size === 0) return "{}";
    const members = [...value].map(([name, member]) => `${inner}${JSON.stringify(name)}: ${writeJson(member, inner)}`);
    return `{\n${members.join(",\n")}\n${margin}}`;
  }
  return JSON.stringify(value);
}

/** The value on one line. */
export function writeShort(value: Json): string {
  if (value instanceof Numeral) return value.digits;
  if (Array.isArray(value)) return `[${value.map(writeShort).join(", ")}]`;
  if (value instanceof Map) {
    return `{${[...value].map(([name, member]) => `${JSON.stringify(name)}: ${writeShort(member)}`).join(", ")}}`;
  }
  return JSON.stringify(value);
}

/** Another one, alike in all its parts. */
export function copyJson(value: Json): Json {
  if (Array.isArray(value)) return value.map(copyJson);
  if (value instanceof Map) return new Map([...value].map(([name, member]) => [name, copyJson(member)]));
  return value;
}
