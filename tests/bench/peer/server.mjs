// The peer of the benchmark: npm oidc-provider 9 with the in-memory adapter it ships, set up to give the same answers
// as Lab ID does in `bench.yaml`: the same claims and scopes, RS256 JWT access tokens, an ID token and a new refresh
// token at every refresh, the same lifetimes. What the harness decides comes in BENCH_* variables.
import { createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';

import { Provider } from 'oidc-provider';

const issuer = process.env.BENCH_ISSUER;
const client = JSON.parse(process.env.BENCH_CLIENT);
const accounts = JSON.parse(process.env.BENCH_ACCOUNTS);
const audience = process.env.BENCH_AUDIENCE;
const scope = client.scope;
const key = createPrivateKey(readFileSync(process.env.BENCH_KEY_FILE));

const provider = new Provider(issuer, {
  clients: [client],
  jwks: { keys: [{ ...key.export({ format: 'jwk' }), alg: 'RS256', use: 'sig' }] },
  cookies: { keys: ['the benchmark signs its cookies with this'] },
  scopes: ['openid', 'offline_access', 'data.read'],
  claims: {
    email: ['email', 'email_verified'],
    profile: ['name', 'given_name', 'family_name', 'preferred_username', 'updated_at'],
  },
  findAccount: (_ctx, id) => accounts[id] && { accountId: id, claims: () => ({ sub: id, ...accounts[id] }) },
  pkce: { required: () => true },
  // As Lab ID does: by the client's grant types, whether the request asked for offline access or not.
  issueRefreshToken: (_ctx, registered) => registered.grantTypeAllowed('refresh_token'),
  rotateRefreshToken: true,
  ttl: {
    AccessToken: 600, ClientCredentials: 600, IdToken: 600, RefreshToken: 30 * 86400, Grant: 30 * 86400, Session: 7 * 86400,
    Interaction: 600,
  },
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      // A client that acts for itself always gets a JWT; a user's token is one where `resource` was asked for, because
      // this provider's userinfo and introspection take opaque tokens only.
      defaultResource: (ctx) => (ctx.oidc.params.grant_type === 'client_credentials' ? audience : undefined),
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope, audience, accessTokenFormat: 'jwt', accessTokenTTL: 600, jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
});

// Signs in whom `login_hint` names and consents to everything: obtaining tokens is not what is measured.
provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith('/interaction/')) return next();
  const { params } = await provider.interactionDetails(ctx.req, ctx.res);
  const accountId = params.login_hint;
  const grant = new provider.Grant({ accountId, clientId: params.client_id });
  grant.addOIDCScope(scope);
  grant.addResourceScope(audience, scope);
  const consent = { grantId: await grant.save() };
  await provider.interactionFinished(ctx.req, ctx.res, { login: { accountId }, consent });
  ctx.respond = false;
});

const { hostname, port } = new URL(issuer);
const server = provider.listen(Number(port), hostname);
for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => { server.closeAllConnections(); server.close(); });
