// Puts faults that the server found at the step and the field that they are about.
import { find, newId } from "./parts";

export interface Fault {
  path: string;
  message: string;
}

/** The faults that the preview tells; `null` where it tells of something else. */
export function previewFaults(): Fault[] | null {
  const preview = document.querySelector("#tool-preview");
  if (!preview || preview.childElementCount === 0) return null;
  return [...preview.querySelectorAll<HTMLElement>("[data-found-faults] > li")].map(({ dataset }) => ({
    path: dataset["path"] ?? "",
    message: dataset["message"] ?? "",
  }));
}

/** The faults that the form came back with, when it was to be saved. */
export function savingFaults(root: ParentNode): Fault[] {
  return [...root.querySelectorAll("[data-json-view] .field-errors > li")].map((item) => {
    const words = item.textContent ?? "";
    const [, path = "", message = words] = /^((?:steps|parameters|result)\S*): (.*)$/s.exec(words) ?? [];
    return { path, message };
  });
}

/** Shows each fault at its place below `root`, in place of those that were shown; tells those without a place. */
export function placeFaults(root: HTMLElement, faults: readonly Fault[]): void {
  clearFaults(root);
  for (const fault of faults) {
    const place = placeOf(root, fault.path);
    if (place) showAt(place, fault);
  }
  for (const card of root.querySelectorAll<HTMLElement>(".step")) {
    const count = card.querySelectorAll(".placed-fault").length;
    const badge = find(card, "[data-fault-count]");
    badge.hidden = count === 0;
    badge.textContent = count === 1 ? "1 fault" : `${count} faults`;
  }
}

function clearFaults(root: HTMLElement): void {
  for (const told of root.querySelectorAll<HTMLElement>(".placed-fault")) {
    const control = controlOf(told.parentElement);
    const described = (control?.getAttribute("aria-describedby") ?? "").split(" ").filter((id) => id && id !== told.id);
    if (control && !control.validity.customError) control.removeAttribute("aria-invalid");
    if (described.length > 0) control?.setAttribute("aria-describedby", described.join(" "));
    else control?.removeAttribute("aria-describedby");
    told.remove();
  }
  for (const badge of root.querySelectorAll<HTMLElement>("[data-fault-count]")) badge.hidden = true;
}

/** What is drawn for a place, or for the nearest one around it. */
export function placeOf(root: HTMLElement, path: string): HTMLElement | null {
  let found: HTMLElement | null = null;
  for (const place of root.querySelectorAll<HTMLElement>("[data-at]")) {
    const at = place.dataset["at"] ?? "";
    if (!path.startsWith(at) || !["", ".", "["].includes(path.charAt(at.length))) continue;
    if (!found || at.length >= (found.dataset["at"] ?? "").length) found = place;
  }
  return found;
}

/** A place in the words of the page: the step's number, and what the field is called. */
export function placeWords(place: HTMLElement): string {
  const number = place.closest<HTMLElement>(".step")?.dataset["number"];
  if (place.matches(".steps-list")) return place.getAttribute("aria-label") ?? "";
  const named = place.querySelector("label [data-label]") ?? place.querySelector("label");
  const field = place.matches(".field, .step-condition") ? named?.textContent?.trim() : "";
  const row = place.closest(".parameter")?.getAttribute("aria-label");
  const words = [number ? `Step ${number}` : (row ?? ""), field ?? ""].filter(Boolean).join(", ");
  return words.replace(/\s+/g, " ") || (place.querySelector("h2")?.textContent ?? "Steps");
}

/** What is wrong at a place, with what of it the place does not show by itself. */
export function faultWords(place: HTMLElement, fault: Fault): string {
  const below = fault.path.slice((place.dataset["at"] ?? "").length).replace(/^\./, "");
  return below ? `${below}: ${fault.message}` : fault.message;
}

/** The control to go to for a place. */
export function controlOf(place: Element | null): HTMLInputElement | null {
  return place?.querySelector<HTMLInputElement>(":scope :is(input, select, textarea)") ?? null;
}

function showAt(place: HTMLElement, fault: Fault): void {
  const told = document.createElement("p");
  told.className = "field-errors placed-fault";
  told.id = newId();
  told.textContent = faultWords(place, fault);
  if (!place.classList.contains("field")) {
    (place.querySelector(":scope > [data-faults], :scope > .step-body > [data-faults]") ?? place).append(told);
    return;
  }
  place.append(told);
  const control = controlOf(place);
  if (!control) return;
  control.setAttribute("aria-invalid", "true");
  const described = [control.getAttribute("aria-describedby"), told.id].filter(Boolean);
  control.setAttribute("aria-describedby", described.join(" "));
}
