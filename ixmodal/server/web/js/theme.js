// Before anything is drawn: the colours that were chosen here, or else the system's. A plain script, as modules run late.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("ixmodal.theme");
  } catch {
    // storage is forbidden: the system's colours stay
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
