// The form of a data source: settings that matter only for another choice are hidden. The server judges what is sent.
import { on, onContent } from "./dom";

function isFilled(control: HTMLElement): boolean {
  if (control instanceof HTMLInputElement && control.type === "checkbox") return control.checked;
  if (control instanceof HTMLSelectElement) return control.dataset["fills"] !== undefined && control.value !== "";
  return (
    (control instanceof HTMLInputElement || control instanceof HTMLTextAreaElement) && control.value.trim() !== ""
  );
}

/** Shows a control whose choice is made, and one that says something all the same: it would be sent unseen. */
function judge(form: ParentNode): void {
  for (const control of form.querySelectorAll<HTMLElement>("[data-matters-for]")) {
    const field = control.closest<HTMLElement>(".field");
    const choice = form.querySelector<HTMLSelectElement>(`select[name="${control.dataset["mattersFor"] ?? ""}"]`);
    if (!field || !choice) continue;
    const wanted = JSON.parse(control.dataset["mattersWhen"] ?? "[]") as unknown[];
    const chosen = wanted.some((each) => JSON.stringify(each) === choice.value);
    field.hidden = !chosen && !isFilled(control) && !field.querySelector(".field-errors");
  }
}

export function startSettings(): void {
  on("change", "form:has([data-matters-for]) select", (choice) => {
    if (choice instanceof HTMLSelectElement && choice.form) judge(choice.form);
  });
  const judgeAll = (): void => {
    for (const form of document.querySelectorAll("form:has([data-matters-for])")) judge(form);
  };
  onContent(judgeAll);
  window.addEventListener("pageshow", judgeAll);
}
