// "Try it": keeps the form made of a tool's schema and the raw JSON beside it the same.
import { on, onContent } from "./dom";

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

function raw(form: HTMLFormElement): HTMLTextAreaElement | null {
  return form.querySelector<HTMLTextAreaElement>("textarea[data-raw]");
}

function controls(form: HTMLFormElement): (HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement)[] {
  return [...form.querySelectorAll<HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement>("[data-argument]")];
}

/** The value a control stands for; `undefined` leaves the argument out. */
function valueOf(control: HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement): Json | undefined {
  const text = control.value;
  if (text === "") return undefined;
  switch (control.dataset["type"]) {
    case "boolean":
      return text === "true";
    case "integer":
    case "number": {
      const value = Number(text);
      return Number.isFinite(value) ? value : text;
    }
    case "json":
      try {
        return JSON.parse(text) as Json;
      } catch {
        return text;
      }
    default:
      return text;
  }
}

function parsed(form: HTMLFormElement): { [key: string]: Json } | null {
  try {
    const value = JSON.parse(raw(form)?.value || "{}") as Json;
    return value !== null && typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

function formToRaw(form: HTMLFormElement): void {
  const area = raw(form);
  if (!area) return;
  const before = parsed(form) ?? {};
  const values: { [key: string]: Json } = {};
  for (const control of controls(form)) {
    const name = control.dataset["argument"] ?? "";
    const value = valueOf(control);
    delete before[name];
    if (value !== undefined) values[name] = value;
  }
  // What has no control stays as it was typed.
  Object.assign(values, before);
  area.value = JSON.stringify(values, null, 2);
  area.removeAttribute("aria-invalid");
}

function rawToForm(form: HTMLFormElement): void {
  const area = raw(form);
  const values = parsed(form);
  if (!area) return;
  if (values === null) {
    area.setAttribute("aria-invalid", "true");
    return;
  }
  area.removeAttribute("aria-invalid");
  for (const control of controls(form)) {
    const value = values[control.dataset["argument"] ?? ""];
    const words = typeof value === "string" && control.dataset["type"] !== "json" ? value : JSON.stringify(value);
    control.value = value === undefined ? "" : words;
  }
}

export function startPlayground(): void {
  on("input", "form[data-playground]", (form, event) => {
    if (!(form instanceof HTMLFormElement)) return;
    if (event.target === raw(form)) rawToForm(form);
    else formToRaw(form);
  });
  onContent(() => {
    for (const form of document.querySelectorAll<HTMLFormElement>("form[data-playground]:not([data-ready])")) {
      form.setAttribute("data-ready", "");
      formToRaw(form);
    }
  });
  // Ctrl+Enter runs the tool from anywhere in its form.
  on("keydown", "form[data-playground]", (form, event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && form instanceof HTMLFormElement) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
}
