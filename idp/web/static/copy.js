// Shows the error page's "Copy details" button, which is hidden where it could not work, and serves it.
const button = document.getElementById("copy");
if (navigator.clipboard) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const parts = [...document.querySelectorAll("[data-copy]")];
    await navigator.clipboard.writeText(parts.map((part) => part.innerText).join("\n"));
    button.textContent = button.dataset.done;
    document.getElementById("copied").textContent = button.dataset.done; // for screen readers
  });
}
