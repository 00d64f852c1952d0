// Lets Google's script draw its own button in the place of ours, which stays wherever that script does not come.
const place = document.getElementById("one-tap");
const button = place.firstElementChild;
const ours = document.querySelector("button.google").form;

ours.before(place);
button.dataset.width = Math.min(ours.clientWidth, 400);
if (matchMedia("(prefers-color-scheme: dark)").matches) {
  button.dataset.theme = "filled_black";
}
// Google's frame knows light alone; within another scheme browsers paint a white ground behind it.
place.style.colorScheme = "light";

new MutationObserver((_changes, observer) => {
  observer.disconnect();
  place.hidden = false;
  ours.hidden = true;
}).observe(button, { childList: true });

const script = document.createElement("script");
script.src = "https://accounts.google.com/gsi/client";
script.async = true;
// It takes this one for the style sheet that it adds to the page; it allows no script.
script.setAttribute("nonce", document.currentScript.nonce);
document.head.append(script);
