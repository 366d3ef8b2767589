// Live hints: a WebSocket says that calls arrived, htmx then asks for what changed. Carries no data itself.
//
// Elements listen with hx-trigger="marina:calls from:body". While the socket is down, the same event comes
// from a timer, so that a proxy without WebSockets costs freshness only.

const POLL_MS = 5_000;
const RETRY_MS = [1_000, 2_000, 5_000, 15_000, 30_000];

export function startLive(): void {
  const url = document.body.dataset["live"];
  if (!url || !document.querySelector("[data-live-part]")) return;
  connect(new URL(url, location.href), 0);
}

function hint(): void {
  if (!document.hidden) document.body.dispatchEvent(new CustomEvent("marina:calls"));
}

function show(open: boolean): void {
  document.body.toggleAttribute("data-live-open", open);
}

function connect(url: URL, attempt: number): void {
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  const timer = setInterval(hint, POLL_MS);
  let opened = false;
  const socket = new WebSocket(url);
  socket.addEventListener("open", () => {
    opened = true;
    clearInterval(timer);
    show(true);
    hint();
  });
  socket.addEventListener("message", (event: MessageEvent<unknown>) => {
    if (typeof event.data === "string" && event.data.includes('"calls"')) hint();
  });
  socket.addEventListener("close", () => {
    show(false);
    const next = opened ? 0 : attempt + 1;
    const wait = RETRY_MS[Math.min(next, RETRY_MS.length - 1)] ?? 30_000;
    // Between two tries the timer keeps the page fresh.
    const polling = opened ? setInterval(hint, POLL_MS) : timer;
    setTimeout(() => {
      clearInterval(polling);
      connect(url, next);
    }, wait);
  });
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && document.body.dataset["live"]) hint();
});
