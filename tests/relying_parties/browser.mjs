// A browser without scripts: keeps cookies, follows redirects, and fills in the provider's plain forms.

const MAX_REDIRECTS = 15;
const TEXTS = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&#34;": '"', "&#39;": "'" };

const unescape = (html) => html.replace(/&(?:amp|lt|gt|#34|#39);/g, (entity) => TEXTS[entity]);

export class Browser {
  #cookies = new Map();

  // Returns the first address that begins with `stopAt`, signing in and allowing on the way.
  async walk(url, { username, password, stopAt }) {
    let response = await this.#get(url);
    for (let step = 0; step < MAX_REDIRECTS; step += 1) {
      if (response.location) {
        if (response.location.startsWith(stopAt)) return new URL(response.location);
        response = await this.#get(response.location);
      } else {
        response = await this.#submit(response, { username, password, decision: "allow" });
      }
    }
    throw new Error(`more than ${MAX_REDIRECTS} steps, last at ${response.url}`);
  }

  async #get(url) {
    return this.#request(url, {});
  }

  async #submit(page, values) {
    if (page.status !== 200) throw new Error(`${page.url} answered ${page.status}: ${page.text}`);
    const [, action, inner] = /<form[^>]* action="([^"]*)"[^>]*>(.*?)<\/form>/s.exec(page.text);
    const body = new URLSearchParams();
    for (const [control] of inner.matchAll(/<(?:input|button)\b[^>]*>/g)) {
      const name = /\bname="([^"]*)"/.exec(control)?.[1];
      const value = /\bvalue="([^"]*)"/.exec(control)?.[1];
      if (name && !body.has(name)) body.set(name, values[name] ?? unescape(value ?? ""));
    }
    const url = new URL(unescape(action), page.url);
    return this.#request(url.href, { method: "POST", body, headers: { origin: url.origin } });
  }

  async #request(url, options) {
    const cookie = [...this.#cookies].map(([name, value]) => `${name}=${value}`).join("; ");
    const response = await fetch(url, { redirect: "manual", ...options, headers: { ...options.headers, cookie } });
    for (const line of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
      this.#cookies.set(name, value);
    }
    const location = response.headers.get("location");
    return {
      url,
      status: response.status,
      text: await response.text(),
      location: location && new URL(location, url).href,
    };
  }
}
