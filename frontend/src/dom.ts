// Finding and listening in the page. Listeners sit on the document, so content that htmx swaps in is covered.

/** Calls back when an element that matches `selector`, or something inside it, gets the event. */
export function on<K extends keyof DocumentEventMap>(
  kind: K,
  selector: string,
  react: (element: HTMLElement, event: DocumentEventMap[K]) => void,
): void {
  document.addEventListener(kind, (event) => {
    const target = event.target;
    if (!(target instanceof Element)) return;
    const element = target.closest<HTMLElement>(selector);
    if (element) react(element, event);
  });
}

/** Calls back once for the page and again for each part that htmx swaps in. */
export function onContent(react: () => void): void {
  react();
  document.addEventListener("htmx:after:swap", react);
}

/** Says something to people who use a screen reader. */
export function announce(words: string): void {
  const region = document.querySelector<HTMLElement>("#announcer");
  if (region) region.textContent = words;
}
