// A browser without scripts: keeps cookies, follows redirects, and fills in the provider's plain forms.

const MAX_REDIRECTS = 15;
const TEXTS = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&#34;": '"', "&#39;": "'" };

const unescape = (html) => html.replace(/&(?:amp|lt|gt|#34|#39);/g, (entity) => TEXTS[entity]);

export class Browser {
  #cookies = new Map();

  // Returns what an application at `stopAt` gets, signing in and allowing on the way: the address to which the browser
  // is sent, with its fragment, or the request that a form makes of the answer (response_mode=form_post).
  async walk(url, { username, password, stopAt }) {
    let response = await this.#get(url);
    for (let step = 0; step < MAX_REDIRECTS; step += 1) {
      if (response.location) {
        if (response.location.startsWith(stopAt)) return new URL(response.location);
        response = await this.#get(response.location);
      } else {
        const { target, body } = this.#fillIn(response, { username, password, decision: "allow" });
        if (target.href.startsWith(stopAt)) return new Request(target, { method: "POST", body });
        response = await this.#request(target.href, { method: "POST", body, headers: { origin: target.origin } });
      }
    }
    throw new Error(`more than ${MAX_REDIRECTS} steps, last at ${response.url}`);
  }

  async #get(url) {
    return this.#request(url, {});
  }

  #fillIn(page, values) {
    if (page.status !== 200) throw new Error(`${page.url} answered ${page.status}: ${page.text}`);
    const [, action, inner] = /<form[^>]* method="post" action="([^"]*)"[^>]*>(.*?)<\/form>/s.exec(page.text);
    const body = new URLSearchParams();
    for (const [control] of inner.matchAll(/<(?:input|button)\b[^>]*>/g)) {
      const name = /\bname="([^"]*)"/.exec(control)?.[1];
      const value = /\bvalue="([^"]*)"/.exec(control)?.[1];
      if (name && !body.has(name)) body.set(name, values[name] ?? unescape(value ?? ""));
    }
    return { target: new URL(unescape(action), page.url), body };
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
