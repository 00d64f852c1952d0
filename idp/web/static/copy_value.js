// Shows the buttons that copy one text of a page each, which are hidden where they could not work, and serves them.
if (navigator.clipboard) {
  for (const button of document.querySelectorAll("[data-copies]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copies).textContent);
      button.textContent = button.dataset.done;
      document.getElementById("copied").textContent = button.dataset.done; // for screen readers
    });
  }
}
