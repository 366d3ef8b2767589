// The editor of definitions that are made of steps: the list, and the JSON that it writes. The JSON is what is sent.
import { announce, onContent } from "../dom";
import { drawSteps } from "./cards";
import { CALL, countSteps, typeOf, whyNoList } from "./definition";
import {
  type Fault,
  controlOf,
  faultWords,
  placeFaults,
  placeOf,
  placeWords,
  previewFaults,
  savingFaults,
} from "./faults";
import { drawMember } from "./fields";
import { drawInputs } from "./inputs";
import { BadJson, type Json, type JsonObject, readJson, writeJson } from "./json";
import { type Editing, find } from "./parts";
import { openPicker } from "./picker";
import { knownAt } from "./scope";
import { Tools } from "./tools";

const MOST_UNDONE = 50;
const KNOWN = ["parameters", "steps", "result"];
/** Where there are more steps than these, calls begin folded: a list to read. */
const MOST_OPEN = 4;

class StepsEditor implements Editing {
  readonly types: readonly string[];
  readonly tools: Tools;
  private definition: JsonObject = new Map();
  private readonly folded = new WeakMap<object, boolean>();
  private readonly raw = new WeakSet<object>();
  private undone: string[] = [];
  private faults: Fault[];
  private readonly refused: boolean;
  private isList = false;
  private foldsCalls = false;

  constructor(private readonly root: HTMLElement) {
    this.types = (root.dataset["types"] ?? "").split(" ");
    this.tools = new Tools(root.dataset["toolsUrl"] ?? "");
    this.faults = savingFaults(root);
    this.refused = this.faults.length > 0;
  }

  start(): void {
    find(this.root, "[data-views]").hidden = false;
    for (const button of this.buttons()) {
      button.addEventListener("click", () => this.show(button.dataset["view"] ?? ""));
    }
    this.undoButton.addEventListener("click", () => this.undo());
    this.list.addEventListener("keydown", (event) => {
      // Enter in a line would save the tool.
      if (event.key === "Enter" && event.target instanceof HTMLInputElement) event.preventDefault();
    });
    // What cannot be sent has to be seen.
    this.list.addEventListener("invalid", (event) => this.reveal(event.target), true);
    const why = this.read();
    if (why) this.showView("json");
    else {
      this.foldsCalls = countSteps(this.definition.get("steps")) > MOST_OPEN;
      this.showView("list");
      this.draw();
    }
    onContent(() => this.hear());
    window.addEventListener("pageshow", (event) => {
      // Coming back by the browser's history may bring back a text that was typed.
      if (event.persisted || this.area.value === this.area.defaultValue || !this.isList) return;
      if (!this.read()) this.draw();
    });
  }

  copy(template: string): DocumentFragment {
    const found = find<HTMLTemplateElement>(this.root, `template[data-template="${template}"]`);
    return found.content.cloneNode(true) as DocumentFragment;
  }

  typed(): void {
    this.undone = [];
    this.write();
  }

  change(act: () => void, words: string, at: string, focus: string, gone?: HTMLElement): void {
    if (this.awaits(gone)) return;
    this.undone = [...this.undone.slice(1 - MOST_UNDONE), this.area.value];
    act();
    this.faults = this.faults.filter((fault) => !fault.path);
    this.write();
    this.draw();
    this.area.dispatchEvent(new Event("change", { bubbles: true }));
    if (words) announce(words);
    this.focus(at, focus);
  }

  pick(control: HTMLInputElement | HTMLTextAreaElement, step: Json): void {
    const at = control.closest<HTMLElement>("[data-at]")?.dataset["at"] ?? "";
    // Arguments that came to be known in the meantime have been drawn again.
    const now = (): typeof control => {
      const again = placeOf(this.list, at)?.querySelector<HTMLInputElement>("[data-control]");
      return control.isConnected ? control : (again ?? control);
    };
    const known = knownAt(this.definition).get(step) ?? [];
    openPicker(find<HTMLDialogElement>(this.root, "[data-picker]"), now, known, this.tools);
  }

  /** Shows the faults where they belong, and, of a form that was refused, all of them above. */
  tell(): void {
    const above = find(this.root, "[data-faults-left]");
    above.hidden = true;
    if (!this.isList) return;
    placeFaults(this.list, this.faults);
    if (!this.refused || this.faults.length === 0) return;
    above.hidden = false;
    const count = this.faults.length;
    const left = count === 1 ? "One fault is" : `${count} faults are`;
    find(above, "[data-words]").textContent = `It is not saved. ${left} left:`;
    find(above, "[data-list]").replaceChildren(...this.faults.map((fault) => this.line(fault)));
  }

  isFolded(step: Json): boolean {
    const kept = step instanceof Object ? this.folded.get(step) : undefined;
    return kept ?? (this.foldsCalls && step instanceof Map && typeOf(step) === CALL);
  }

  fold(step: Json, folded: boolean): void {
    if (step instanceof Object) this.folded.set(step, folded);
  }

  isRaw(step: Json): boolean {
    return step instanceof Object && this.raw.has(step);
  }

  setRaw(step: Json, raw: boolean): void {
    if (!(step instanceof Object)) return;
    if (raw) this.raw.add(step);
    else this.raw.delete(step);
  }

  private get area(): HTMLTextAreaElement {
    return find<HTMLTextAreaElement>(this.root, "[data-json-view] textarea");
  }

  private get list(): HTMLElement {
    return find(this.root, "[data-list-view]");
  }

  private get undoButton(): HTMLButtonElement {
    return find<HTMLButtonElement>(this.root, "[data-undo]");
  }

  private buttons(): HTMLButtonElement[] {
    return [...this.root.querySelectorAll<HTMLButtonElement>("[data-view]")];
  }

  /** Reads the JSON; says why it cannot be a list, if it cannot. */
  private read(): string {
    try {
      // Nothing at all would not be sent, and nobody would see why.
      if (!this.area.value.trim()) this.area.value = "{}";
      const read = readJson(this.area.value);
      const why = whyNoList(read);
      if (!why && read instanceof Map) this.definition = read;
      return why;
    } catch (fault) {
      if (fault instanceof BadJson) return `It is not JSON: ${fault.message}.`;
      throw fault;
    }
  }

  private write(): void {
    this.area.value = writeJson(this.definition);
    this.undoButton.disabled = this.undone.length === 0;
  }

  /** Whether something was typed that is nowhere but in its control; says so there. */
  private awaits(gone?: HTMLElement): boolean {
    const wrong = [...this.list.querySelectorAll<HTMLInputElement>(":invalid:is(input, textarea)")];
    const kept = wrong.find((control) => !gone?.contains(control));
    kept?.reportValidity();
    return kept !== undefined;
  }

  private undo(): void {
    if (this.awaits()) return;
    const text = this.undone.pop();
    if (text === undefined) return;
    this.area.value = text;
    this.read();
    this.undoButton.disabled = this.undone.length === 0;
    this.draw();
    this.area.dispatchEvent(new Event("change", { bubbles: true }));
    announce("The last change is undone.");
    if (this.undoButton.disabled) this.buttons().find((button) => button.ariaPressed === "true")?.focus();
  }

  private show(view: string): void {
    const refusal = find(this.root, "[data-no-list]");
    refusal.hidden = true;
    if (view === "json") {
      if (this.awaits()) return;
    } else if (!this.isList) {
      const why = this.read();
      if (why) {
        find(refusal, "[data-words]").textContent = `${why} Mend it first: then it is shown as a list.`;
        refusal.hidden = false;
        this.area.focus();
        return;
      }
      this.undone = [];
      this.draw();
    }
    this.showView(view);
    announce(view === "json" ? "The definition is shown as JSON." : "The definition is shown as a list.");
  }

  private showView(view: string): void {
    this.isList = view === "list";
    this.list.hidden = !this.isList;
    find(this.root, "[data-json-view]").hidden = this.isList;
    this.undoButton.hidden = !this.isList;
    for (const button of this.buttons()) button.setAttribute("aria-pressed", String(button.dataset["view"] === view));
    // What is hidden must keep no form from being sent.
    if (!this.isList) this.list.replaceChildren();
    this.tell();
  }

  private draw(): void {
    this.list.replaceChildren(this.copy("whole"));
    drawInputs(find(this.list, `[data-at="parameters"]`), this.definition, this);
    const steps = { holder: this.definition, member: "steps", at: "steps", before: "", label: "Steps" };
    drawSteps(find(this.list, `[data-steps="steps"]`), steps, this);
    drawMember(find(this.list, `[data-value="result"]`), this.definition, { at: "", step: this.definition }, this);
    const others = [...this.definition.keys()].filter((member) => !KNOWN.includes(member));
    const kept = find(this.list, "[data-kept]");
    kept.hidden = others.length === 0;
    kept.textContent = `Kept as it is, and changed as JSON: ${others.join(", ")}.`;
    this.tell();
  }

  private hear(): void {
    const found = previewFaults();
    if (!found) return;
    this.faults = found;
    this.tell();
  }

  private line(fault: Fault): HTMLElement {
    const item = document.createElement("li");
    const place = placeOf(this.list, fault.path);
    if (place) {
      const link = document.createElement("a");
      link.href = `#${controlOf(place)?.id ?? ""}`;
      link.textContent = placeWords(place);
      link.addEventListener("click", (event) => {
        event.preventDefault();
        this.reveal(place);
        (controlOf(place) ?? find(place, "button")).focus();
      });
      item.append(link, ": ");
    }
    item.append(place ? faultWords(place, fault) : fault.message);
    return item;
  }

  /** Unfolds what something stands in. */
  private reveal(inner: EventTarget | null): void {
    if (!(inner instanceof Element)) return;
    for (let body = inner.closest<HTMLElement>(".step-body[hidden]"); body; body = body.closest(".step-body[hidden]")) {
      const button = this.root.querySelector<HTMLElement>(`[aria-controls="${body.id}"]`);
      if (!button) return;
      button.click();
    }
    const more = inner.closest("details");
    if (more) more.open = true;
  }

  private focus(at: string, selector: string): void {
    const place = [...this.list.querySelectorAll<HTMLElement>("[data-at]")].find((each) => each.dataset["at"] === at);
    const wanted = place?.querySelector<HTMLElement>(selector) ?? this.list.querySelector<HTMLElement>("button");
    // A step at the end cannot be moved further: its other buttons can be pressed.
    const able = wanted?.matches(":disabled") ? place?.querySelector<HTMLElement>("[data-act]:enabled") : wanted;
    able?.focus();
    if (able instanceof HTMLInputElement && able.type !== "checkbox") able.select();
  }
}

export function startSteps(): void {
  for (const root of document.querySelectorAll<HTMLElement>("[data-steps-editor]")) new StepsEditor(root).start();
}
