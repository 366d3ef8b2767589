// Is this export of a Marina team's log whole? An auditor's program: Node 24, no package, no network.
//
//   node verify_marina_log.ts EXPORT.jsonl [--checkpoints FILE_OR_FOLDER]… [--keys KEYS.json]…
//                             [--range] [--filtered] [--metadata]
//
// Written from docs/log.md alone, apart from the program in Python, so that a slip in one is not a slip in both.
// Ends with 0 when all fits, with 1 at the first thing that does not, with 2 when something cannot be read.

import { createHash, createPublicKey, verify } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { createReadStream, readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

type Row = { seq: number; at: string; atUs: number; tenant: number; prev: string; hash: string; body: Buffer | null };
type Key = { number: number; raw: Buffer; object: KeyObject; vouched: string };
type Statement = {
  origin: string;
  what: "checkpoint" | "still" | "tombstone";
  n: number;
  size: number;
  root: string;
  tenant: number;
  at: number;
  previous: string;
  self: string;
  /** Only of a tombstone: records `first` to `size` were removed when they were `days` old; `before` is the hash before. */
  grave?: { first: number; before: string; days: number };
};

class Fault extends Error {}
class Illegible extends Error {}

const ZEROS = "0".repeat(64);
/** No policy is shorter, in days. */
const LEAST_DAYS = 30;
/** So far an auditor's clock may be behind, in microseconds. */
const GRACE = 300e6;
const MEMBERS = "seq,at,at_us,tenant,prev,hash";
const RECORD = Buffer.from(',"record":');
const METADATA = Buffer.from(',"metadata":');
const HEX = /^[0-9a-f]{64}$/;
const sha256 = (...parts: (Buffer | string)[]) => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
};

// --- the export's lines -------------------------------------------------------------------------------------

async function* linesOf(path: string): AsyncGenerator<Buffer> {
  const pieces: Buffer[] = [];
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
      const block = chunk as Buffer;
      let from = 0;
      for (let end = block.indexOf(10); end >= 0; end = block.indexOf(10, from)) {
        pieces.push(block.subarray(from, end));
        yield pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
        pieces.length = 0;
        from = end + 1;
      }
      if (from < block.length) pieces.push(block.subarray(from));
    }
  } catch (error) {
    throw illegible(path, error);
  }
  if (pieces.length > 0) yield Buffer.concat(pieces);
}

function rowOf(line: Buffer, lineNumber: number): Row {
  const none = new Fault(`line ${lineNumber} is no record of an export`);
  // Before either word stand numbers, a time and digests alone: the first of the two to come is the member's name.
  const [whole, partial] = [line.indexOf(RECORD), line.indexOf(METADATA)];
  const bare = partial >= 0 && (whole < 0 || partial < whole);
  const cut = bare ? partial : whole;
  const body = line.subarray(cut + (bare ? METADATA : RECORD).length, line.length - 1);
  if (cut < 0 || line.at(-1) !== 125 || body.at(0) !== 123 || body.at(-1) !== 125) throw none;
  const text = `${line.toString("latin1", 0, cut)}}`;
  let head;
  try {
    head = JSON.parse(text);
  } catch {
    throw none;
  }
  // What is written back must be what was read: no member twice, none besides, no white space.
  if (Object.keys(head).join() !== MEMBERS || JSON.stringify(head) !== text) throw none;
  const { seq, at, at_us: atUs, tenant, prev, hash } = head;
  const counted = [seq, tenant].every((each) => Number.isSafeInteger(each) && each > 0);
  const texts = [prev, hash].every((each) => typeof each === "string" && HEX.test(each));
  if (!counted || !Number.isSafeInteger(atUs) || !texts) throw none;
  return { seq, at, atUs, tenant, prev, hash, body: bare ? null : body };
}

function hashOf(row: Row, body: Buffer): string {
  const head = Buffer.alloc(48);
  head.write("marina.audit.v1\0", "latin1");
  head.writeBigUInt64BE(BigInt(row.tenant), 16);
  head.writeBigUInt64BE(BigInt(row.seq), 24);
  head.writeBigInt64BE(BigInt(row.atUs), 32);
  head.writeBigUInt64BE(BigInt(body.length), 40);
  return sha256(head, body, Buffer.from(row.prev, "hex")).toString("hex");
}

function timeOf(us: number): string {
  const seconds = Math.floor(us / 1e6);
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) throw new Fault(`${us} is no time`);
  return `${date.toISOString().slice(0, 19)}.${String(us - seconds * 1e6).padStart(6, "0")}Z`;
}

// --- signed statements --------------------------------------------------------------------------------------

function filesIn(place: string): string[] {
  try {
    if (!statSync(place).isDirectory()) return [place];
    const names = readdirSync(place, { recursive: true, withFileTypes: true });
    return names.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name)).sort();
  } catch (error) {
    throw illegible(place, error);
  }
}

function read(path: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(readFileSync(path));
  } catch (error) {
    throw illegible(path, error);
  }
}

/** Texts and signatures take turns, a blank line between any two of them. */
function notesIn(path: string): string[] {
  const parts = read(path).split("\n\n").filter((part) => part.trim() !== "");
  if (parts.length % 2 === 1) throw new Illegible(`${path} ends in the middle of a note`);
  return parts.flatMap((part, at) => (at % 2 ? [] : [`${part}\n\n${parts[at + 1]!.replace(/\n+$/, "")}\n`]));
}

function isSignedBy(note: string, key: Key): boolean {
  const blank = note.indexOf("\n\n");
  const text = Buffer.from(note.slice(0, blank + 1));
  return note
    .slice(blank + 2)
    .split("\n")
    .some((line) => {
      const [dash, name, value, ...more] = line.split(" ");
      if (dash !== "\u2014" || !name || !value || more.length > 0) return false;
      const bytes = base64(value);
      const id = sha256(name, "\n\x01", key.raw).subarray(0, 4);
      return bytes.length === 68 && id.equals(bytes.subarray(0, 4)) && verify(null, text, key.object, bytes.subarray(4));
    });
}

function statementOf(note: string): Statement {
  const lines = note.slice(0, note.indexOf("\n\n")).split("\n");
  const [origin, size, root, tenant, which, time, previous, removed, before, policy] = lines;
  const value = (line: string | undefined, word: string) => {
    if (!line?.startsWith(`${word} `)) throw new Illegible("a note says something else than a checkpoint does");
    return line.slice(word.length + 1);
  };
  const whole = (text: string | undefined) => {
    const number = Number(text);
    if (!Number.isSafeInteger(number) || number < 0 || String(number) !== text) {
      throw new Illegible("a number in a note is none");
    }
    return number;
  };
  const digest = (text: string | undefined) => {
    const bytes = base64(text ?? "");
    if (bytes.length !== 32) throw new Illegible("a hash in a note has not 32 bytes");
    return bytes.toString("hex");
  };
  const buried = which?.startsWith("tombstone ") === true;
  if (lines.length !== (buried ? 10 : 7) || !origin) throw new Illegible("a note has not the lines of a checkpoint or tombstone");
  const what = buried ? "tombstone" : which?.startsWith("still ") ? "still" : "checkpoint";
  const graveOf = () => {
    const [from, count, ...more] = value(removed, "removed").split(" ");
    const [days, unit, ...rest] = value(policy, "policy").split(" ");
    const first = whole(from);
    if (more.length + rest.length > 0 || unit !== "days" || first < 1 || whole(count) !== whole(size) - first + 1) {
      throw new Illegible("a tombstone does not say what was removed");
    }
    return { first, before: digest(value(before, "before")), days: whole(days) };
  };
  return {
    ...(buried ? { grave: graveOf() } : {}),
    origin,
    what,
    n: whole(value(which, what)),
    size: whole(size),
    root: digest(root),
    tenant: whole(value(tenant, "tenant")),
    at: whole(value(time, "time")),
    previous: digest(value(previous, "previous")),
    self: sha256(note).toString("hex"),
  };
}

function base64(text: string): Buffer {
  const bytes = Buffer.from(text, "base64");
  if (bytes.toString("base64") !== text) throw new Illegible("what should be base64 is not");
  return bytes;
}

const nameOf = (said: Statement) => `${said.what} ${said.n} (${timeOf(said.at).slice(0, 19).replace("T", " ")} UTC)`;

/**
 * How many records are gone from the beginning, as tombstones say, each going on where the one before it ended; and for
 * how many days each of them was kept at least.
 */
function goneOf(mine: Statement[]): { gone: number; kept: number } {
  const graves = mine.filter((said) => said.grave).sort((a, b) => a.n - b.n);
  let end = { n: 0, self: ZEROS, size: 0, root: ZEROS, at: -1 };
  let kept = Infinity;
  for (const said of graves) {
    if (said.n === end.n) throw new Fault(`two tombstones have the number ${said.n}: somebody wrote another past`);
    if (said.n > end.n + 1) break; // the one in between is missing
    const { first, before, days } = said.grave!;
    if (said.previous !== end.self || first !== end.size + 1 || before !== end.root) {
      throw new Fault(`${nameOf(said)} does not follow the tombstone before it`);
    }
    if (said.at <= end.at) throw new Fault(`${nameOf(said)} is no younger than the tombstone before it`);
    if (days < LEAST_DAYS) throw new Fault(`${nameOf(said)} buries records after ${days} days, and ${LEAST_DAYS} is the least`);
    if (said.at > Date.now() * 1000 + GRACE) throw new Fault(`${nameOf(said)} is of a time that is still to come`);
    end = said;
    kept = Math.min(kept, days);
  }
  // Whoever counted fewer records than a tombstone names knew the next one of them to be still to come; and a checkpoint
  // is the first to count its newest record.
  for (const said of mine.filter((each) => !each.grave)) {
    const one = said.what === "checkpoint" ? said.size : said.size + 1;
    for (const over of graves.filter((each) => each.grave!.first <= said.size + 1 && one <= each.size)) {
      if (over.at - said.at >= over.grave!.days * 86_400e6) continue;
      throw new Fault(
        `${nameOf(over)} is too wide: it buries records ${over.grave!.first} to ${over.size} as ${over.grave!.days} days old, ` +
          `and ${nameOf(said)} is younger and counts only ${said.size}`,
      );
    }
  }
  return { gone: end.size, kept };
}

/** One log's statements in the order of what they count, once it is certain that they do not contradict each other. */
function agreed(all: Statement[], tenant: number): Statement[] {
  const once = new Map(all.filter((said) => said.tenant === tenant).map((said) => [said.self, said]));
  const mine = [...once.values()].sort((a, b) => a.size - b.size || a.at - b.at);
  if (all.length > 0 && mine.length === 0) throw new Fault(`no checkpoint is about the log of tenant ${tenant}`);
  const numbered = new Map<number, Statement>();
  for (const said of mine.filter((each) => each.what === "checkpoint")) {
    if (numbered.has(said.n)) throw new Fault(`two checkpoints have the number ${said.n}: somebody wrote another past`);
    numbered.set(said.n, said);
  }
  let last = 0;
  for (const said of numbered.values()) {
    const former = numbered.get(said.n - 1);
    const fits = said.n === 1 ? said.previous === ZEROS : !former || said.previous === former.self;
    if (!fits || said.n < last || (former && former.at >= said.at)) {
      throw new Fault(`${nameOf(said)} does not follow the checkpoint before it`);
    }
    last = said.n;
  }
  for (const said of mine.filter((each) => each.what === "still")) {
    const about = numbered.get(said.n);
    if (about && (about.self !== said.previous || about.size !== said.size || about.root !== said.root)) {
      throw new Fault(`${nameOf(said)} is not about the checkpoint ${said.n} that is here`);
    }
  }
  mine.forEach((said, at) => {
    const other = mine[at - 1];
    if (other?.size === said.size && other.root !== said.root) {
      throw new Fault(`${nameOf(other)} and ${nameOf(said)} contradict each other`);
    }
  });
  return mine;
}

// --- keys ---------------------------------------------------------------------------------------------------

function keysIn(paths: string[]): Key[] {
  const known = new Map<number, Key>();
  for (const path of paths) {
    let listed: { number: number; public_key: string; statement: string }[];
    try {
      listed = JSON.parse(read(path)).keys;
      if (!Array.isArray(listed) || listed.length === 0) throw new TypeError();
      for (const { number, public_key: text, statement } of listed) {
        const raw = base64(text);
        const object = createPublicKey({
          key: { kty: "OKP", crv: "Ed25519", x: raw.toString("base64url") },
          format: "jwk",
        });
        if (!Number.isSafeInteger(number) || number < 1 || raw.length !== 32 || typeof statement !== "string") throw new TypeError();
        if (known.get(number)?.raw.equals(raw) === false) throw new Fault(`${path} has another key ${number}`);
        known.set(number, { number, raw, object, vouched: statement });
      }
    } catch (error) {
      if (error instanceof Fault || error instanceof Illegible) throw error;
      throw new Illegible(`${path} is no list of keys`);
    }
  }
  for (const key of known.values()) {
    const [, number, text] = key.vouched.split("\n");
    const vouchers = key.number === 1 ? [key] : [key, known.get(key.number - 1)];
    const honest = number === `key ${key.number}` && text === key.raw.toString("base64");
    if (!honest || !vouchers.every((voucher) => voucher && isSignedBy(key.vouched, voucher))) {
      throw new Fault(`nobody vouches for key ${key.number}`);
    }
  }
  return [...known.values()];
}

// --- holding one against the other --------------------------------------------------------------------------

async function examine(path: string, all: Statement[], may: { endEarly: boolean; leaveOut: boolean; hideData: boolean }): Promise<string[]> {
  let last: Row | undefined;
  let begin = 0;
  let rows = 0;
  let left = 0;
  let lineNumber = 0;
  let next = 0;
  let sure = 0;
  let leading = 0;
  let vouched = 0;
  let bare = 0;
  let statements: Statement[] = [];
  let [gone, kept] = [0, 0];
  const compared: Statement[] = [];

  /** Every statement up to the record `seq`, whose hash is `hash`. Those about records that are left out say nothing. */
  const compare = (seq: number, hash: string) => {
    for (; next < statements.length && statements[next]!.size <= seq; next++) {
      const said = statements[next]!;
      if (said.size < seq) continue;
      if (said.root !== hash) {
        throw new Fault(
          `the hash of record ${seq} is not the one that ${nameOf(said)} signed: the log was written anew, ` +
            `beginning somewhere from record ${sure + 1} to record ${seq}`,
        );
      }
      sure = seq;
      compared.push(said);
    }
  };

  for await (const line of linesOf(path)) {
    const row = rowOf(line, ++lineNumber);
    if (!last) {
      statements = agreed(all, row.tenant);
      begin = row.seq;
      ({ gone, kept } = goneOf(statements));
      if (begin > gone + 1 && !may.endEarly) {
        throw new Fault(`record ${gone + 1} is missing: the file begins with ${begin}, and no tombstone says why`);
      }
      if (begin === 1 && row.prev !== ZEROS) throw new Fault("record 1 names one before it");
      if (begin === 1) compare(0, ZEROS);
    } else {
      if (row.tenant !== last.tenant) throw new Fault(`line ${lineNumber} is of another tenant's log`);
      if (row.seq <= last.seq) throw new Fault(`record ${row.seq} comes after record ${last.seq}: out of order`);
      const missing = row.seq - last.seq - 1;
      if (missing > 0 && !may.leaveOut) {
        throw new Fault(`record ${last.seq + 1} is missing: after record ${last.seq} comes ${row.seq}`);
      }
      left += missing;
    }
    if (!row.body && !may.hideData) throw new Fault(`record ${row.seq} lacks its data: only --metadata allows that`);
    if (row.body && hashOf(row, row.body) !== row.hash) throw new Fault(`record ${row.seq} was changed: it has another hash than it says`);
    if (timeOf(row.atUs) !== row.at) throw new Fault(`record ${row.seq} was changed: its two times differ`);
    if (last?.seq === row.seq - 1 && row.prev !== last.hash) {
      throw new Fault(`record ${row.seq} does not follow record ${last.seq}: one of the two was replaced`);
    }
    if (row.seq > 1) compare(row.seq - 1, row.prev);
    compare(row.seq, row.hash);
    // Records that lead to a signed hash, one after another, are signed with it. After a gap nothing leads anywhere.
    // Nor does it through a record without its data, whose hash nobody can compute.
    if (!row.body) bare++;
    leading = !row.body ? 0 : last && last.seq === row.seq - 1 ? leading + 1 : 1;
    if (sure === row.seq) {
      vouched += leading;
      leading = 0;
    }
    last = row;
    rows++;
  }

  if (!last && all.length > 0) {
    const others = all.filter((said) => said.tenant !== all[0]!.tenant);
    if (others.length > 0) {
      throw new Illegible("an empty file, and checkpoints of several logs: say whose it is, give only that one's");
    }
    statements = agreed(all, all[0]!.tenant);
  }
  const newest = statements.at(-1);
  const end = last?.seq ?? 0;
  if (newest && newest.size > end && !may.endEarly) {
    throw new Fault(`the end is cut off: the last record here is ${end}, and ${nameOf(newest)} counts ${newest.size}`);
  }
  const origins = [...new Set(statements.map((said) => said.origin))].sort().join(", ");
  const whose = newest ? [`whose log: ${origins}, tenant ${newest.tenant}`] : [];
  if (!last) {
    const unsaid = newest && newest.size > 0 ? ["no checkpoint says that it has to be empty"] : [];
    return ["whole: an empty file", ...unsaid, ...whose];
  }
  const reached = compared.at(-1);
  const upTo = reached ? `, up to ${nameOf(reached)} over ${reached.size} records` : "";
  const alone = rows - vouched;
  const which = may.leaveOut || bare > 0
    ? `${alone} of ${rows} records; they could have been made up. At a checkpoint, or leading to one: ${vouched}`
    : `records ${end - alone + 1} to ${end}, ${alone} of ${rows}`;
  return [
    `whole: records ${begin} to ${end}, ${rows} of them; the hash of record ${end} is ${last.hash}`,
    ...(newest ? [`${compared.length} of ${statements.length} signed statements were compared and fit${upTo}`] : []),
    ...(begin > 1 && begin <= gone + 1 ? [`removed by retention, as tombstones say: records 1 to ${gone}, kept for ${kept} days at least`] : []),
    alone > 0 ? `vouched for by no checkpoint: ${which}` : "vouched for by a checkpoint: every record here",
    ...(bare > 0
      ? [`without their data: ${bare} records. Their words were not checked; compare a whole one with its hash here`]
      : []),
    ...(left > 0 ? [`not in this file, and so not checked: ${left} records between them`] : []),
    ...(newest ? whose : [`whose log, as it says itself: tenant ${last.tenant}`]),
    ...(newest ? [] : ["without checkpoints nobody sees an end that was cut off, or a log that was written anew"]),
  ];
}

function illegible(path: string, error: unknown): Error {
  if (error instanceof Fault || error instanceof Illegible) return error;
  return new Illegible(`${path} (${(error as NodeJS.ErrnoException).code ?? "no text"})`);
}

async function main(): Promise<string[]> {
  let options;
  try {
    options = parseArgs({
      allowPositionals: true,
      options: {
        checkpoints: { type: "string", multiple: true, default: [] },
        keys: { type: "string", multiple: true, default: [] },
        range: { type: "boolean", default: false },
        filtered: { type: "boolean", default: false },
        metadata: { type: "boolean", default: false },
      },
    });
  } catch (error) {
    throw new Illegible((error as Error).message);
  }
  const { values, positionals } = options;
  if (positionals.length !== 1) throw new Illegible("name one export");
  const notes = values.checkpoints.flatMap(filesIn).flatMap(notesIn);
  if (values.checkpoints.length > 0 && notes.length === 0) throw new Illegible("there is no checkpoint to be found");
  if (notes.length > 0 && values.keys.length === 0) throw new Illegible("checkpoints need --keys");
  const keys = keysIn(values.keys);
  const all = notes.map((note) => {
    const said = statementOf(note);
    if (!keys.some((key) => isSignedBy(note, key))) throw new Fault(`no key that was given signed ${nameOf(said)}`);
    return said;
  });
  return examine(positionals[0]!, all, {
    endEarly: values.range || values.filtered,
    leaveOut: values.filtered,
    hideData: values.metadata,
  });
}

try {
  for (const sentence of await main()) console.log(sentence);
} catch (error) {
  if (!(error instanceof Fault || error instanceof Illegible)) throw error;
  console.log(`${error instanceof Fault ? "broken" : "cannot read"}: ${error.message}`);
  process.exitCode = error instanceof Fault ? 1 : 2;
}
