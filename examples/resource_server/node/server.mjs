// The bookshop's warehouse: a service of its own that takes the access tokens of a Watchword.
//
// To look at the stock it asks nobody: the public keys say whether a token is good. That is up to five minutes behind
// the truth, which is too much for a transfer: there it asks Watchword as well.

import { createServer } from 'node:http';
import { createRemoteJWKSet, customFetch, errors, jwtVerify } from 'jose';

const { ISSUER, JWKS_URL, CLIENT_ID, CLIENT_SECRET, PORT = '8001' } = process.env;
if (!ISSUER || !JWKS_URL) throw new Error('ISSUER and JWKS_URL say whose tokens are taken here');

// What Watchword signs with and publishes keys of. HS256 stays out: whoever can verify it can sign.
const ALGORITHMS = ['EdDSA', 'ES256', 'RS256'];
const ACCESS_TOKEN = 'at+jwt'; // RFC 9068 §2.1; an API token says `api+jwt`
const CLAIMS = ['iss', 'sub', 'aud', 'exp', 'iat', 'jti', 'client_id', 'scope']; // RFC 9068 §2.2
const LONGEST_LIFE = 3600; // of any access token of a Watchword, in seconds
const CLOCK_SKEW = 5;

// For how long keys are believed unasked: what their Cache-Control says, by default. jose's own 10 minutes are longer,
// and a revoked key lives on here for as long.
const KEYS_LIFE = 300_000;
// An unknown `kid` may be a new key or a stranger's whim, and a stranger has many: so at most one request in this time.
// It has to be clearly shorter than Cache-Control's max-age, which is how long a new key is published before it signs:
// whoever asked a moment ago then has it already. jose's own 30 seconds suit the usual 5 minutes and no short ones.
const COOLDOWN = 2_000;
const TIMEOUT = 3_000;

/** What is said to whoever is not let in. */
class Refusal extends Error {
  constructor(status, headers = {}) {
    super(`refused with ${status}`);
    this.status = status;
    this.headers = headers;
  }

  /** As RFC 6750 §3 says. Where no token was sent it says no error, only how to come in. */
  static bearer(status, says = {}) {
    const details = Object.entries({ realm: 'warehouse', ...says }).map(([name, value]) => `${name}="${value}"`);
    return new Refusal(status, { 'WWW-Authenticate': `Bearer ${details.join(', ')}` });
  }
}

// jose counts its cooldown from answers. This counts questions, so that a Watchword in trouble is left in peace too.
let askedAt = -Infinity;
const tooSoon = new Error('asked a moment ago, in vain');
const remoteKeys = createRemoteJWKSet(new URL(JWKS_URL), {
  cacheMaxAge: KEYS_LIFE,
  cooldownDuration: COOLDOWN,
  timeoutDuration: TIMEOUT,
  [customFetch]: async (url, options) => {
    if (performance.now() - askedAt < COOLDOWN) throw tooSoon;
    askedAt = performance.now();
    return fetch(url, options);
  },
});

async function findKey(header, token) {
  // jose would take any key that fits a token without a `kid`; Watchword writes none such.
  if (!header.kid) throw new errors.JWKSNoMatchingKey();
  try {
    return await remoteKeys(header, token);
  } catch (error) {
    if (error instanceof errors.JWKSNoMatchingKey) throw error;
    if (error !== tooSoon) console.warn(`the keys cannot be had: ${error}`);
    throw new Refusal(503, { 'Retry-After': `${COOLDOWN / 1000}` });
  }
}

/** Return a token's claims, once everything about it holds. */
async function verified(token) {
  try {
    const { payload } = await jwtVerify(token, findKey, {
      algorithms: ALGORITHMS, // and the one of the key, which jose compares by itself
      typ: ACCESS_TOKEN,
      issuer: ISSUER,
      audience: ISSUER,
      requiredClaims: CLAIMS,
      maxTokenAge: LONGEST_LIFE, // without it jose does not look at `iat`
      clockTolerance: CLOCK_SKEW,
    });
    // jose is content with an audience among others.
    if (payload.aud !== ISSUER || payload.exp - payload.iat > LONGEST_LIFE) throw new errors.JWTInvalid();
    return payload;
  } catch (error) {
    // Which check failed is told to nobody (RFC 8725).
    throw error instanceof errors.JOSEError ? Refusal.bearer(401, { error: 'invalid_token' }) : error;
  }
}

/** Ask Watchword about a token (RFC 7662): it knows of logouts, and what its holder may at this moment. */
async function allowedNow(token) {
  const client = [CLIENT_ID, CLIENT_SECRET].map(encodeURIComponent).join(':'); // RFC 6749 §2.3.1
  let told;
  try {
    const answer = await fetch(`${ISSUER}/oauth/introspect`, {
      method: 'POST',
      headers: { Authorization: `Basic ${Buffer.from(client).toString('base64')}` },
      body: new URLSearchParams({ token }),
      redirect: 'error',
      signal: AbortSignal.timeout(TIMEOUT),
    });
    if (!answer.ok) throw new Error(`it answered ${answer.status}`);
    told = await answer.json();
  } catch (error) {
    // Not to know is no reason to let somebody in.
    console.warn(`introspection failed: ${error}`);
    throw new Refusal(503);
  }
  if (told.active !== true) throw Refusal.bearer(401, { error: 'invalid_token' });
  return told.scope;
}

/** Return the claims of a token that is good for this scope; `ask` Watchword whether it is at this moment. */
async function admit(request, scope, { ask = false } = {}) {
  const [, token] = /^bearer +(.*)$/i.exec(request.headers.authorization ?? '') ?? [];
  if (token === undefined) throw Refusal.bearer(401);
  const claims = await verified(token);
  const allowed = ask ? await allowedNow(token) : claims.scope;
  if (!String(allowed).split(' ').includes(scope)) throw Refusal.bearer(403, { error: 'insufficient_scope', scope });
  return claims;
}

const routes = new Map();
routes.set('GET /stock', async (request) => {
  const claims = await admit(request, 'books:read');
  return { for: claims.sub, stock: { 'To the Lighthouse': 3, 'The Waves': 1 } };
});
// Only if Watchword can be asked about tokens.
if (CLIENT_ID && CLIENT_SECRET) {
  routes.set('POST /transfer', async (request) => {
    const claims = await admit(request, 'books:write', { ask: true });
    return { for: claims.sub, transferred: true };
  });
}

const server = createServer(async (request, response) => {
  const answer = (status, headers, body) => {
    response.writeHead(status, { 'Content-Type': 'application/json', ...headers }).end(JSON.stringify(body));
  };
  try {
    const route = routes.get(`${request.method} ${request.url.split('?')[0]}`);
    if (route === undefined) throw new Refusal(404);
    answer(200, {}, await route(request));
  } catch (error) {
    if (!(error instanceof Refusal)) console.error(error);
    answer(error.status ?? 500, error.headers ?? {}, { error: error instanceof Refusal ? error.message : 'broken' });
  }
});
server.listen(Number(PORT), '127.0.0.1', () => console.log(`http://127.0.0.1:${PORT}`));
