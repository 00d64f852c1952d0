// The OP iframe (OpenID Connect Session Management 1.0 §3.2): tells applications whether the browser's sign-in changed.
const cookieStart = document.currentScript.dataset.cookie + "=";

function browserState() {
  const found = document.cookie.split("; ").find((pair) => pair.startsWith(cookieStart));
  return found === undefined ? "" : found.slice(cookieStart.length);
}

async function judge(message, origin) {
  // A client_id may hold spaces, a session_state may not. Plain http has no crypto.subtle, except on this machine.
  const parts = typeof message === "string" && /^(.+) ([^ .]+)\.([^ .]+)$/s.exec(message);
  if (!parts || !window.crypto.subtle) {
    return "error";
  }
  const [, clientId, hash, salt] = parts;
  // As idp/protocol/session_state.py computes it.
  const text = new TextEncoder().encode(`${clientId} ${origin} ${browserState()} ${salt}`);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", text));
  const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex === hash ? "unchanged" : "changed";
}

window.addEventListener("message", async (event) => {
  // A page without an origin, such as a sandboxed one, cannot be answered alone.
  if (event.origin !== "null") {
    event.source.postMessage(await judge(event.data, event.origin), event.origin);
  }
});
