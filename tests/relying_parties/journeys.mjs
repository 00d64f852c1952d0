// What applications do, each from beginning to end; a journey returns what it saw.

import * as client from "openid-client";
import { Browser } from "./browser.mjs";
import { configure, placesOf, refusal, signIn } from "./relying_party.mjs";

export async function everything(options) {
  const { afterLogout } = options;
  const config = await configure(options);
  const browser = new Browser();
  const { answer, checks } = await signIn(config, browser, options, { prompt: "consent", max_age: 3600 });
  const tokens = await client.authorizationCodeGrant(config, answer, { ...checks, maxAge: 3600 });
  const claims = tokens.claims();
  const userinfo = await client.fetchUserInfo(config, tokens.access_token, claims.sub);
  const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token);
  const end = client.buildEndSessionUrl(config, {
    id_token_hint: refreshed.id_token,
    post_logout_redirect_uri: afterLogout,
    state: "a state",
  });
  const landed = await browser.walk(end.href, { stopAt: afterLogout });
  return {
    claims,
    userinfo,
    refreshed: refreshed.claims(),
    rotated: refreshed.refresh_token !== tokens.refresh_token,
    scope: tokens.scope,
    expires_in: tokens.expires_in,
    landed: landed.href,
  };
}

export async function outcome(options) {
  const seen = {};
  const config = await configure(options, seen);
  const { answer, checks } = await signIn(config, new Browser(), options);
  const places = await placesOf(answer);
  const registered = config.clientMetadata();
  if (options.responseType === "id_token") {
    const claims = await client.implicitAuthentication(config, answer, checks.expectedNonce, checks);
    return { places, registered, claims };
  }
  const tokens = await client.authorizationCodeGrant(config, answer, checks);
  const claims = tokens.claims();
  const userinfo = await client.fetchUserInfo(config, tokens.access_token, claims.sub);
  return { places, registered, claims, id_token: tokens.id_token, userinfo, answered: seen.userinfo };
}

export async function refused(options) {
  const config = await configure(options);
  const { answer, checks } = await signIn(config, new Browser(), options);
  const places = await placesOf(answer);
  return { places, refusal: await refusal(client.authorizationCodeGrant(config, answer, checks)) };
}

export async function registration(options) {
  return refusal(configure(options));
}

export async function revocation(options) {
  const config = await configure(options);
  const { answer, checks } = await signIn(config, new Browser(), options);
  const tokens = await client.authorizationCodeGrant(config, answer, checks);
  const before = await client.tokenIntrospection(config, tokens.access_token);
  await client.tokenRevocation(config, tokens.refresh_token);
  return {
    before,
    after: await client.tokenIntrospection(config, tokens.access_token),
    userinfo: await refusal(client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub)),
    refresh: await refusal(client.refreshTokenGrant(config, tokens.refresh_token)),
  };
}

export async function replay(options) {
  const config = await configure(options);
  const { answer, checks } = await signIn(config, new Browser(), options);
  await client.authorizationCodeGrant(config, answer, checks);
  return refusal(client.authorizationCodeGrant(config, answer, checks));
}

export async function silently(options) {
  const config = await configure(options);
  const browser = new Browser();
  await signIn(config, browser, options);
  const signedIn = await signIn(config, browser, options, { prompt: "none" });
  const stranger = await signIn(config, new Browser(), options, { prompt: "none" });
  return {
    signedIn: (await client.authorizationCodeGrant(config, signedIn.answer, signedIn.checks)).claims(),
    stranger: await refusal(client.authorizationCodeGrant(config, stranger.answer, stranger.checks)),
  };
}

export async function service(options) {
  const config = await configure(options);
  const tokens = await client.clientCredentialsGrant(config, { scope: options.scope });
  const introspection = await client.tokenIntrospection(config, tokens.access_token);
  await client.tokenRevocation(config, tokens.access_token);
  return {
    tokens,
    introspection,
    revoked: await client.tokenIntrospection(config, tokens.access_token),
    refused: await refusal(client.clientCredentialsGrant(config, { scope: "openid" })),
  };
}

export async function authentication(options) {
  const config = await configure(options);
  return refusal(client.clientCredentialsGrant(config, { scope: options.scope }));
}
