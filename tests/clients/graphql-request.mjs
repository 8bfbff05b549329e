// graphql-request: with a jar of cookies it needs nothing else; with tokens, a second try of one's own.

import makeFetchCookie from 'fetch-cookie';
import { CookieJar } from 'tough-cookie';
import { LOG_IN, LOG_OUT, OTHER, VIEWER, given, refusals, say, url, watch, withCookies, withTokens } from './given.mjs';

import { ClientError, GraphQLClient } from 'graphql-request';
import { Session, isUnauthenticated } from './session.mjs';

const session = new Session(url);
const client = new GraphQLClient(url, {
  headers: () => (session.accessToken ? { authorization: `Bearer ${session.accessToken}` } : {}),
});

async function ask(document, variables) {
  try {
    return await client.request(document, variables);
  } catch (error) {
    const refused = error instanceof ClientError && isUnauthenticated(error.response.errors);
    if (!refused || !session.refreshToken) throw error;
    await session.refresh();
    return client.request(document, variables);
  }
}

const wire = watch();
const viewer = async () => (await ask(VIEWER)).viewer.user.email;

const nobody = await viewer().catch((error) => refusals(error.response.errors));
session.keep((await ask(LOG_IN, withTokens)).login);
const loggedIn = await viewer();
session.keep(given.kept);
const before = wire.splice(0);
const other = ask(OTHER);
const refreshed = [await viewer(), (await other).viewer.kind];
const { logout } = await ask(LOG_OUT);
const loggedOut = await viewer().catch((error) => error.message);
const after = wire.splice(0);

const jar = new CookieJar();
const withJar = new GraphQLClient(url, { fetch: makeFetchCookie(fetch, jar) });
const inTheBody = (await withJar.request(LOG_IN, withCookies)).login.accessToken;
const cookies = {
  inTheBody,
  kept: (await jar.getCookies(url)).map(({ key, httpOnly }) => [key, httpOnly]).sort(),
  viewer: (await withJar.request(VIEWER)).viewer.user.email,
  logout: (await withJar.request(LOG_OUT)).logout.sessionEnded,
  left: (await jar.getCookies(url)).length,
};

say({ nobody, loggedIn, refreshed, logout: logout.sessionEnded, loggedOut, cookies, before, after });
