// Sets the chosen theme before the first paint. A classic script, so that it runs ahead of the page.
(() => {
  try {
    const chosen = localStorage.getItem("marina.theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // Storage is off: the system's preference holds.
  }
})();
