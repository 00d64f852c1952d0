// npm oidc-provider 9 as an upstream for the tests: another vendor's OpenID provider, where people sign in on a page of
// one form. Its first line of standard input says how it is set up; when that input ends, so does this. It prints its
// issuer once it listens, and takes changes at two addresses of its own:
//   PUT /accounts/SUB       the claims of an account; what no account has is none, so that nobody signs in by accident
//   PUT /redirect_uris      where the client may be answered, and after a logout, too
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';

import { interactionPolicy, Provider } from 'oidc-provider';

const [line] = await once(createInterface({ input: process.stdin }), 'line');
const { clientId, clientSecret, redirectUris, accounts, conform } = JSON.parse(line);

const server = createServer().listen(0, '127.0.0.1');
await once(server, 'listening');
const issuer = `http://localhost:${server.address().port}`;

// Its own: the keys that the package brings along would be the same in every instance.
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });

const policy = interactionPolicy.base();
policy.add(new interactionPolicy.Prompt({ name: 'select_account', requestable: true }), 0);

const provider = new Provider(issuer, {
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig' }] },
  cookies: { keys: ['the tests sign these cookies with this'] },
  scopes: ['openid', 'offline_access'],
  // `hd` and `groups` are no claims of OpenID Connect; Google says `hd` in each ID token.
  claims: {
    openid: ['sub', 'acr', 'amr', 'hd'],
    email: ['email', 'email_verified'],
    profile: ['name', 'given_name', 'family_name', 'picture', 'locale'],
    groups: ['groups'],
  },
  acrValues: ['urn:example:single', 'urn:example:multi'],
  conformIdTokenClaims: conform,
  findAccount: (_ctx, id) => Object.hasOwn(accounts, id)
    ? { accountId: id, claims: () => ({ ...accounts[id], sub: id }) }
    : undefined,
  pkce: { required: () => true },
  rotateRefreshToken: true,
  ttl: {
    AccessToken: 600, IdToken: 600, RefreshToken: 86400, Grant: 86400, Session: 86400, Interaction: 600,
  },
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}`, policy },
  features: {
    devInteractions: { enabled: false },
    revocation: { enabled: true },
    claimsParameter: { enabled: true },
    rpInitiatedLogout: { enabled: true, logoutSource, postLogoutSuccessSource },
  },
  renderError: (ctx, out) => { page(ctx, 'Refused', `<p>${escaped(out.error)}: ${escaped(out.error_description)}</p>`); },
});

function register(uris) {
  return provider.Client.adapter.upsert(clientId, {
    client_id: clientId,
    client_secret: clientSecret,
    redirect_uris: uris,
    post_logout_redirect_uris: uris.map((uri) => `${new URL(uri).origin}/`).concat(uris),
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
  });
}

function escaped(said) {
  return String(said ?? '').replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

function page(ctx, title, body) {
  ctx.type = 'html';
  ctx.body = `<!doctype html><html lang="en"><title>${title}</title><link rel="icon" href="data:,"><h1>${title}</h1>${body}`;
}

function logoutSource(ctx, form) {
  page(ctx, 'Sign out', `${form}<button type="submit" form="op.logoutForm" name="logout" value="yes">Sign out</button>`);
}

function postLogoutSuccessSource(ctx) {
  page(ctx, 'Signed out', '');
}

async function ask(ctx) {
  const { prompt, params, session } = await provider.interactionDetails(ctx.req, ctx.res);
  const account = params.login_hint ?? session?.accountId ?? '';
  page(ctx, 'Sign in at the upstream', `
    <p>${escaped(params.client_id)} asks for ${escaped(params.scope)} (${escaped(prompt.name)})</p>
    <form method="post">
      <label>Account <input name="account" value="${escaped(account)}"></label>
      <label>Class <input name="acr"></label>
      <label>Methods <input name="amr"></label>
      <button name="decision" value="allow">Continue</button>
      <button name="decision" value="deny">Cancel</button>
    </form>`);
}

async function take(ctx) {
  const { params } = await provider.interactionDetails(ctx.req, ctx.res);
  const form = new URLSearchParams(await text(ctx.req));
  const accountId = form.get('account');
  ctx.respond = false;
  if (form.get('decision') !== 'allow' || !Object.hasOwn(accounts, accountId)) {
    const refusal = { error: 'access_denied', error_description: 'The person said no.' };
    return provider.interactionFinished(ctx.req, ctx.res, refusal, { mergeWithLastSubmission: false });
  }
  const grant = new provider.Grant({ accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  const requested = JSON.parse(params.claims ?? '{}');
  grant.addOIDCClaims(Object.values(requested).flatMap((claims) => Object.keys(claims)));
  const amr = form.get('amr')?.split(' ').filter(Boolean);
  const login = { accountId, acr: form.get('acr') || undefined, amr: amr?.length ? amr : undefined };
  const done = { login, consent: { grantId: await grant.save() }, select_account: {} };
  return provider.interactionFinished(ctx.req, ctx.res, done, { mergeWithLastSubmission: false });
}

async function change(ctx) {
  const sent = JSON.parse(await text(ctx.req));
  if (ctx.path === '/redirect_uris') await register(sent);
  else accounts[decodeURIComponent(ctx.path.slice('/accounts/'.length))] = sent;
  ctx.status = 204;
}

provider.use(async (ctx, next) => {
  if (ctx.method === 'PUT') return change(ctx);
  if (!ctx.path.startsWith('/interaction/')) return next();
  return ctx.method === 'POST' ? take(ctx) : ask(ctx);
});

await register(redirectUris);
server.on('request', provider.callback());
process.stdin.once('end', () => { server.closeAllConnections(); server.close(); });
process.stdin.resume();
console.log(issuer);
