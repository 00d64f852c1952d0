// Runs one journey with openid-client and prints what it saw as JSON: node openid_client.mjs JOURNEY OPTIONS

import * as client from "openid-client";
import { Browser } from "./browser.mjs";

const AUTHENTICATION = {
  client_secret_basic: client.ClientSecretBasic,
  client_secret_post: client.ClientSecretPost,
  none: client.None,
};

const options = JSON.parse(process.argv[3]);

async function discover({ clientId, secret, method = "client_secret_basic", alg = "RS256" }) {
  const config = await client.discovery(
    new URL(options.issuer),
    clientId,
    { id_token_signed_response_alg: alg },
    AUTHENTICATION[method](secret),
    { execute: [client.allowInsecureRequests, client.enableNonRepudiationChecks] },
  );
  return config;
}

async function signIn(config, browser, parameters = {}) {
  const pkceCodeVerifier = client.randomPKCECodeVerifier();
  const expectedState = client.randomState();
  const expectedNonce = client.randomNonce();
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: options.callback,
    scope: options.scope,
    state: expectedState,
    nonce: expectedNonce,
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: "S256",
    ...parameters,
  });
  const answer = await browser.walk(url.href, { ...options, stopAt: options.callback });
  const checks = { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true };
  return { answer, checks };
}

// What the provider refuses, as { error, status }.
async function refusal(promise) {
  try {
    await promise;
  } catch (error) {
    return { error: error.error ?? error.cause?.[0]?.parameters?.error ?? error.message, status: error.status };
  }
  return null;
}

const journeys = {
  async everything() {
    const config = await discover(options);
    const browser = new Browser();
    const { answer, checks } = await signIn(config, browser, { prompt: "consent", max_age: 3600 });
    const tokens = await client.authorizationCodeGrant(config, answer, { ...checks, maxAge: 3600 });
    const claims = tokens.claims();
    const userinfo = await client.fetchUserInfo(config, tokens.access_token, claims.sub);
    const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token);
    const end = client.buildEndSessionUrl(config, {
      id_token_hint: refreshed.id_token,
      post_logout_redirect_uri: options.afterLogout,
      state: "a state",
    });
    const landed = await browser.walk(end.href, { stopAt: options.afterLogout });
    return {
      claims,
      userinfo,
      refreshed: refreshed.claims(),
      rotated: refreshed.refresh_token !== tokens.refresh_token,
      scope: tokens.scope,
      expires_in: tokens.expires_in,
      landed: landed.href,
    };
  },

  async revocation() {
    const config = await discover(options);
    const { answer, checks } = await signIn(config, new Browser());
    const tokens = await client.authorizationCodeGrant(config, answer, checks);
    const before = await client.tokenIntrospection(config, tokens.access_token);
    await client.tokenRevocation(config, tokens.refresh_token);
    return {
      before,
      after: await client.tokenIntrospection(config, tokens.access_token),
      userinfo: await refusal(client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub)),
      refresh: await refusal(client.refreshTokenGrant(config, tokens.refresh_token)),
    };
  },

  async replay() {
    const config = await discover(options);
    const { answer, checks } = await signIn(config, new Browser());
    await client.authorizationCodeGrant(config, answer, checks);
    return refusal(client.authorizationCodeGrant(config, answer, checks));
  },

  async silently() {
    const config = await discover(options);
    const browser = new Browser();
    await signIn(config, browser);
    const signedIn = await signIn(config, browser, { prompt: "none" });
    const stranger = await signIn(config, new Browser(), { prompt: "none" });
    return {
      signedIn: (await client.authorizationCodeGrant(config, signedIn.answer, signedIn.checks)).claims(),
      stranger: await refusal(client.authorizationCodeGrant(config, stranger.answer, stranger.checks)),
    };
  },

  async service() {
    const config = await discover(options);
    const tokens = await client.clientCredentialsGrant(config, { scope: options.scope });
    const introspection = await client.tokenIntrospection(config, tokens.access_token);
    await client.tokenRevocation(config, tokens.access_token);
    return {
      tokens,
      introspection,
      revoked: await client.tokenIntrospection(config, tokens.access_token),
      refused: await refusal(client.clientCredentialsGrant(config, { scope: "openid" })),
    };
  },
};

console.log(JSON.stringify(await journeys[process.argv[2]]()));
