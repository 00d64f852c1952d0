// Counts down until another code may be sent. The server holds the time; without this script the button just answers.
"use strict";
(() => {
  const button = document.querySelector("[data-resend]");
  const shown = document.querySelector("[data-resend-seconds]");
  if (!button || !shown) return;
  const end = Date.now() + Number(button.dataset.resend) * 1000;
  const tick = () => {
    const left = Math.max(0, Math.ceil((end - Date.now()) / 1000));
    button.disabled = left > 0;
    shown.textContent = String(left);
    if (left > 0) setTimeout(tick, 250);
    else document.querySelector("[data-resend-hint]").hidden = true;
  };
  tick();
})();
