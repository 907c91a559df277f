// The theme leaves the arrows that unfold a part of the navigation without a name.
document.addEventListener("DOMContentLoaded", () => {
  for (const arrow of document.querySelectorAll("summary:has(.toctree-toggle)")) {
    arrow.setAttribute("aria-label", "Show or hide the pages below");
  }
});
