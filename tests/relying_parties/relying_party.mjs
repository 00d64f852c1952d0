// What an application does with openid-client: know its provider, send people there, and take the answer.

import * as client from "openid-client";

// What Web Cryptography calls the algorithms, and what their private keys do.
const KEYS = {
  RS256: [{ name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" }, ["sign"]],
  PS256: [{ name: "RSA-PSS", hash: "SHA-256" }, ["sign"]],
  ES256: [{ name: "ECDSA", namedCurve: "P-256" }, ["sign"]],
  EdDSA: [{ name: "Ed25519" }, ["sign"]],
  "RSA-OAEP-256": [{ name: "RSA-OAEP", hash: "SHA-256" }, ["decrypt", "unwrapKey"]],
  "ECDH-ES": [{ name: "ECDH", namedCurve: "P-256" }, ["deriveBits"]],
};

const RESPONSE_TYPES = {
  code: [],
  "code id_token": [client.useCodeIdTokenResponseType, client.enableDetachedSignatureResponseChecks],
  id_token: [client.useIdTokenResponseType],
};

async function imported({ jwk, alg, kid }) {
  return { key: await crypto.subtle.importKey("jwk", jwk, KEYS[alg][0], false, KEYS[alg][1]), kid, alg };
}

async function authentication({ method, secret, key }) {
  switch (method) {
    case "client_secret_basic":
      return client.ClientSecretBasic(secret);
    case "client_secret_post":
      return client.ClientSecretPost(secret);
    case "client_secret_jwt":
      return client.ClientSecretJwt(secret);
    case "private_key_jwt":
      return client.PrivateKeyJwt(await imported(key));
    case "none":
      return client.None();
    case undefined:
      return undefined; // as openid-client does by itself: client_secret_post
  }
  throw new Error(`no client authentication method: ${method}`);
}

// Returns the configuration of a client that the provider knows, or of one that registers itself. `seen.userinfo`
// becomes what UserInfo answered: openid-client tells only what was in it.
export async function configure(options, seen = {}) {
  const { issuer, clientId, metadata, decryption, initialAccessToken, responseType = "code" } = options;
  const server = new URL(issuer);
  const settings = {
    initialAccessToken,
    execute: [client.allowInsecureRequests, client.enableNonRepudiationChecks, ...RESPONSE_TYPES[responseType]],
  };
  const config = clientId
    ? await client.discovery(server, clientId, metadata, await authentication(options), settings)
    : await client.dynamicClientRegistration(server, metadata, await authentication(options), settings);
  if (decryption) client.enableDecryptingResponses(config, [decryption.enc], await imported(decryption));
  const { userinfo_endpoint } = config.serverMetadata();
  config[client.customFetch] = async (url, request) => {
    const response = await fetch(url, request);
    if (url === userinfo_endpoint) {
      seen.userinfo = { type: response.headers.get("content-type"), body: await response.clone().text() };
    }
    return response;
  };
  return config;
}

// Walks to the provider and back, and returns the answer with what it has to be checked against.
export async function signIn(config, browser, options, parameters = {}) {
  const { callback, scope, username, password, responseMode } = options;
  const pkceCodeVerifier = client.randomPKCECodeVerifier();
  const expectedState = client.randomState();
  const expectedNonce = client.randomNonce();
  const url = await authorizationUrl(config, options, {
    redirect_uri: callback,
    scope,
    state: expectedState,
    nonce: expectedNonce,
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: "S256",
    ...(responseMode && { response_mode: responseMode }),
    ...parameters,
  });
  const answer = await browser.walk(url.href, { username, password, stopAt: callback });
  return { answer, checks: { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true } };
}

// The request itself, or a request object, or a reference to one that is published for the occasion.
async function authorizationUrl(config, { requestKey, requestUri }, parameters) {
  if (!requestKey) return client.buildAuthorizationUrl(config, parameters);
  const url = await client.buildAuthorizationUrlWithJAR(config, parameters, await imported(requestKey));
  if (!requestUri) return url;
  await fetch(requestUri, { method: "PUT", body: url.searchParams.get("request") });
  return client.buildAuthorizationUrl(config, { request_uri: requestUri });
}

// The parameters of an answer by the place where they came.
export async function placesOf(answer) {
  const url = new URL(answer.url ?? answer.href);
  const body = answer instanceof Request ? await answer.clone().text() : "";
  const places = { query: url.search, fragment: url.hash.slice(1), body };
  return Object.fromEntries(
    Object.entries(places).map(([place, text]) => [place, Object.fromEntries(new URLSearchParams(text))]),
  );
}

// What the provider refuses, as { error, status }.
export async function refusal(promise) {
  try {
    await promise;
  } catch (error) {
    // At a challenge openid-client stops, before it has read which error it was.
    const challenged = error.code === "OAUTH_WWW_AUTHENTICATE_CHALLENGE";
    const told = challenged ? await error.response.json() : error;
    return { error: told.error ?? error.message, status: error.status };
  }
  return null;
}
