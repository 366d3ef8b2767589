// What the editor knows of the team's tools: their arguments, and what they give. Asked for once, by name.

export interface Argument {
  name: string;
  label: string;
  type: string;
  help: string;
  required: boolean;
  default: string;
  choices: string[];
  long: boolean;
}

export interface Tool {
  title: string;
  description: string;
  arguments: Argument[];
  /** Whether it takes arguments of other names as well. */
  open: boolean;
  /** Parts of its result, as references write them: `.rows`. */
  gives: string[];
}

const MOST_NAMES = 100;

export class Tools {
  /** `null` where there is no such tool. */
  private readonly known = new Map<string, Tool | null>();
  private readonly wanted = new Set<string>();
  private readonly coming = new Map<string, Promise<void>>();
  private asking: Promise<void> | null = null;

  constructor(private readonly address: string) {}

  /** `undefined` where it is not known yet. */
  get(name: string): Tool | null | undefined {
    return this.known.get(name);
  }

  /** Asks for one that is not known, together with others; whether it came to be known. */
  async learn(name: string): Promise<boolean> {
    if (!name || this.known.has(name)) return false;
    let coming = this.coming.get(name);
    if (!coming) {
      this.wanted.add(name);
      this.asking ??= Promise.resolve().then(() => this.ask());
      coming = this.asking;
      this.coming.set(name, coming);
    }
    await coming;
    return this.known.has(name);
  }

  private async ask(): Promise<void> {
    const names = [...this.wanted].slice(0, MOST_NAMES);
    this.wanted.clear();
    this.asking = null;
    const query = new URLSearchParams(names.map((name) => ["tool", name]));
    try {
      const answer = await fetch(`${this.address}?${query.toString()}`, { headers: { Accept: "application/json" } });
      if (!answer.ok) return;
      const { tools } = (await answer.json()) as { tools: Record<string, Tool> };
      for (const name of names) this.known.set(name, Object.hasOwn(tools, name) ? (tools[name] ?? null) : null);
    } catch {
      // Without an answer the arguments that are there are shown by their names.
    } finally {
      for (const name of names) this.coming.delete(name);
    }
  }
}
