// The button that goes through the system's colours, light, dark.

const ORDER = ["system", "light", "dark"];

/** Make `button` switch the colours; it says which are chosen. */
export function setUpThemeSwitch(button) {
  const root = document.documentElement;
  const label = button.querySelector("[data-label]") ?? button;
  const show = () => {
    const chosen = root.dataset.theme ?? "system";
    label.textContent = `Theme: ${chosen}`;
  };
  button.addEventListener("click", () => {
    const next = ORDER[(ORDER.indexOf(root.dataset.theme ?? "system") + 1) % ORDER.length];
    if (next === "system") delete root.dataset.theme;
    else root.dataset.theme = next;
    try {
      localStorage.setItem("ixmodal.theme", next);
    } catch {
      // storage is forbidden: the choice holds until the page is left
    }
    show();
  });
  show();
}
